"""What runs on the target? Two constant programs for a POSIX shell, fed over stdin.

Neither ever holds a value: a process list on the target shows these texts and nothing else. They avoid single quotes,
backslashes, newlines and exclamation marks, so that every log-in shell (csh and fish too) hands them on unchanged.

    session leader (sshd's child)   reads the payload, starts the two others, passes on the step's exit code
    |- watcher                      reads stdin to its end, which is the end of the connection: TERM, 2 s, KILL to the group
    `- step                         the interpreter, its stdin /dev/null as soon as it has the script

A short shell script reaches its interpreter in a variable (`_ops_t`) that is unset before the script's first line, any other by a
pipe (`_ops_s`), which costs a process more and a system call a byte. Parameters stand in the same environment.

The leader could become the interpreter itself, which would save a process; but then the step would have a child that it never
started and that never ends, and a program that waits for all of its children would wait for ever. The leader's own stderr leads
nowhere, since it would say there that its child was terminated; the step takes the real one from descriptor 8.

All three share one session and process group, led by the first. `kill 0` by a step therefore hits the leader and the watcher as
well: both outlive the signals that are sent to end or to tell something, from before the watcher is there. A step's background
child is left alone when the step ends by itself: the leader kills the watcher as its last act, and a watcher that is left (the
step may have sent the signal by which it tells the leader to spare it) does nothing once its leader has gone.
"""

from processors.executor.connector import Shell

GREETING = b"ops-step "

_LEAD = 'kill -0 -$$ 2>/dev/null || exec setsid /bin/sh -c "$0" sh "$1"; eval "$0"'
"""A server that makes no session for a command (OpenSSH does) gets one made: there is no group of our own number then."""

_STEP = (
    "_ops_n=${IFS#??}; _ops_p=; _ops_k=; _ops_s=; _ops_b=$1; "
    "read -r _ops_m _ops_e _ops_r _ops_z || exit 125; "
    'command -v "$_ops_e" >/dev/null 2>&1 || exit 127; '
    'if [ "$_ops_z" = 0 ]; then while IFS= read -r _ops_l && [ "$_ops_l" != . ]; '
    "do _ops_p=$_ops_p$_ops_l$_ops_n; done; "
    'else _ops_p=$(head -c "$_ops_z"); fi; '
    "exec 9<&0 </dev/null; "
    '_ops_d=; trap _ops_d=1 USR1; trap "" HUP INT QUIT ABRT TERM USR2 ALRM PIPE; '
    '{ trap "" USR1; read -r _ops_x <&9; kill -0 $$ || exit 0; '
    "kill -s USR1 $$; kill -s TERM 0; sleep 2; kill -s KILL 0; } >/dev/null 2>&1 & "
    "_ops_w=$!; "
    'eval "$_ops_p"; [ "$_ops_k" = 1 ] || exit 125; export OPS_STEP_MARK=$_ops_m:; '
    'trap : HUP INT QUIT ABRT TERM USR2 ALRM PIPE; [ -z "$_ops_d" ] || exit 125; '
    "exec 8>&2 2>/dev/null; "
    'if [ -z "$_ops_s" ]; then "$_ops_r" -c "$_ops_b" step $$ $_ops_w 9<&-; '
    'else printf %s "$_ops_s" | "$_ops_r" -c "$_ops_b" step $$ $_ops_w 9<&-; fi; '
    "_ops_c=$?; "
    '[ -n "$_ops_d" ] || kill -s KILL $_ops_w 2>/dev/null; '
    "exit $_ops_c"
)

_CONFIRM = (
    "read -r m g w || exit 2; "
    # a process: state, parent, group and session in $1 $2 $3 $4; fails for one that is gone or a zombie
    "seen() { { read -r l </proc/$1/stat; } 2>/dev/null || return 1; p=$1; set -- ${l##*) }; "
    "case $1 in Z|X) return 1;; esac; "
    'if [ "$p" = "$w" ] && [ "$3" = "$g" ]; then v=$w; elif [ "$2" = "$w" ]; then :; '
    'elif [ "$3" = "$g" ]; then a="$a $p"; elif [ -n "$t" ] || [ "$4" = "$g" ]; then b="$b $p"; fi; }; '
    # a: in the step's group; b: out of it, but of its session or with its mark; v: the watcher
    "living() { a=; b=; v=; t=; "
    "for d in /proc/[0-9]*; do seen ${d#/proc/}; done; t=1; "
    'for d in $(grep -lsF "OPS_STEP_MARK=$m:" /proc/[0-9]*/environ); do d=${d#/proc/}; d=${d%/environ}; '
    'case " $a $b " in *" $d "*) ;; *) seen $d;; esac; done; '
    '[ -n "$a$b" ]; }; '
    "if [ -d /proc/self ]; then "
    "i=0; while living; do "
    'if [ $i = 0 ] && [ -n "$b" ]; then kill -s TERM $b; fi; '
    'if [ $i -ge 20 ]; then [ -z "$a" ] || kill -9 -$g; [ -z "$b" ] || kill -s KILL $b; fi; '
    "if [ $i -ge 50 ]; then echo ops-alive; exit 0; fi; "
    "sleep 0.1 || { sleep 1; i=$((i+9)); }; i=$((i+1)); done 2>/dev/null; "
    '[ -z "$v" ] || kill -s KILL $v 2>/dev/null; echo ops-gone; '
    "else sleep 2; kill -9 -$g 2>/dev/null; sleep 1; "
    "if kill -0 -$g 2>/dev/null; then echo ops-alive; else echo ops-gone; fi; fi"
)


CONFIRM_GONE = f"exec /bin/sh -c '{_CONFIRM}'"
"""Reads `mark group watcher` on one line; kills what is left after 2 s, says `ops-gone` or, after 5 s, `ops-alive`."""

_GREET = 'exec 2>&8 8>&-;echo ops-step "$OPS_STEP_MARK" "$1" "$2"'
_EVAL = f'{_GREET};set -- "$_ops_t";unset _ops_t;eval "shift;$1"'

RUN_STEP = f"exec /bin/sh -c '{_LEAD}' '{_STEP}' '{_EVAL}'"
"""Reads `mark, interpreter needed, interpreter of the bootstrap, size` on one line, then the payload: so many bytes, or lines up
to a dot. The bootstrap of a short shell script is known here, since a byte that is read costs more than one that stands here."""

_CAT = "_ops_t=$(cat)||exit 126;exec </dev/null"
_PYTHON = (
    "import os,sys\n"
    "_s=sys.stdin.buffer.read()\n"
    "_n=os.open(os.devnull,os.O_RDONLY)\n"
    "os.dup2(_n,0)\n"
    "os.close(_n)\n"
    'exec(compile(_s,"<step>","exec"),{"__name__":"__main__","__builtins__":__builtins__})\n'
)
_POWERSHELL = "& ([scriptblock]::Create([Console]::In.ReadToEnd())); exit $LASTEXITCODE"

SMALL = 3000
"""Up to so many bytes a shell's own `read` (a system call a byte) is cheaper than starting a program that reads."""


def is_variable(shell: Shell, script: bytes) -> bool:
    """Whether the bootstrap finds the script in `_ops_t`, instead of on stdin."""
    return shell in ("sh", "bash") and len(script) <= SMALL


def bootstrap(shell: Shell, in_variable: bool) -> tuple[str, str, str | None]:
    """The program a shell needs, the program that reads the bootstrap, the bootstrap: its greeting goes to stdout. None for the
    one that the target knows.
    """
    match shell:
        case "sh" | "bash":
            return shell, shell, None if in_variable else f"{_CAT};{_EVAL}"
        case "python":
            return "python3", "sh", f"{_GREET};exec python3 -c '{_PYTHON}'"
        case "powershell":
            return "pwsh", "sh", f"{_GREET};exec pwsh -NoLogo -NoProfile -NonInteractive -Command '{_POWERSHELL}'"
