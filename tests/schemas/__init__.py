"""What crosses process boundaries stays readable for ever."""
