#!/bin/bash
# Runs a command in user-mode Linux on this machine's own file system, read-only.
#   run.sh [-o FOLDER]... [-m MEMORY] [-t SECONDS] [-M 'MODULE ...'] [-e NAME=VALUE]... [-q] COMMAND...
#     -o  a folder of the host that is writable inside, at the same path (may be given more than once)
#     -m  memory, default 1G     -t  seconds for the command, default 300 (exit code 124, as timeout)
#     -M  modules to load first  -e  environment of the command     -q  do not print the times
#     -k  keep the run's folder (kernel.log, dmesg) and print its name
# One word as COMMAND is given to sh -c, more are quoted. The working folder is kept. /tmp, /etc, /var and /root can be
# written to inside, in memory only. Exit code: the command's; 125 if it did not end inside.
set -u
here=$(cd "$(dirname "$0")" && pwd)
memory=1G limit=300 modules= quiet= keep=
folders=() env=()
while getopts o:m:t:M:e:qk option; do
  case $option in
    o) folders+=("$(realpath -m "$OPTARG")") ;;
    m) memory=$OPTARG ;;
    t) limit=$OPTARG ;;
    M) modules=$OPTARG ;;
    e) env+=("$OPTARG") ;;
    q) quiet=1 ;;
    k) keep=1 ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { echo "run.sh: no command" >&2; exit 2; }
for folder in "${folders[@]}"; do mkdir -p "$folder"; done
# Inside, where this file system is read-only, a folder is mounted here (init.sh).
mkdir -p /lib/modules
run=$(mktemp -d)
printf '%s\n' "${folders[@]}" | sed '/^$/d' >"$run/folders"
echo "$limit" >"$run/limit"
echo "$modules" >"$run/modules"
{
  printf 'cd %q 2>/dev/null\n' "$PWD"
  for pair in "${env[@]}"; do printf 'export %q\n' "$pair"; done
  if [ $# = 1 ]; then printf '%s\n' "$1"; else printf '%q ' "$@"; echo; fi
} >"$run/command"
# A shell that knows $'...', in which %q may write.
sed -i '1i [ -n "${BASH:-}" ] || exec bash "$0"' "$run/command"
# Only needed where the CPU has AMX, harmless elsewhere.
gcc -O2 -shared -fPIC -o "$run/fpshim.so" "$here/fpshim.c"
began=$(date +%s.%N)
# A session of its own: should it not end by itself, it is stopped with all its processes. Pipes, as UML cannot poll files.
LD_PRELOAD=$run/fpshim.so setsid --wait linux.uml mem="$memory" uml_dir="$run" umid=uml root=/dev/root rootfstype=hostfs rootflags=/ ro \
  init="$here/init.sh" UMLRUN="$run" console=tty0 con=null con0=null,fd:5 con1=null,fd:6 con2=null,fd:7 quiet \
  </dev/null 5> >(cat >"$run/kernel.log") 6> >(cat) 7> >(cat >&2) >"$run/uml.log" 2>&1 &
uml=$!
stop() {
  for pid in $(cat "$run"/uml/pid 2>/dev/null); do kill -KILL -- "-$(ps -o pgid= -p "$pid" | tr -d ' ')" 2>/dev/null; done
}
trap 'stop; exit 130' INT TERM
(
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  sleep $((limit + 30)) & nap=$!
  wait "$nap" && { echo "run.sh: stopped from outside" >&2; stop; }
) &
guard=$!
{ wait "$uml"; } 2>/dev/null
kill "$guard" 2>/dev/null
took=$(echo "$(date +%s.%N) - $began" | bc 2>/dev/null || python3 -c "import time; print(time.time() - $began)")
rc=$(cat "$run/rc" 2>/dev/null || echo 125)
if [ "$rc" = 125 ] && [ ! -e "$run/rc" ]; then echo "run.sh: the command did not end inside:" >&2; tail -n 20 "$run/uml.log" "$run/kernel.log" >&2; fi
[ -n "$quiet" ] || printf 'run.sh: rc %s, boot %s s, end %s s (inside), %.2f s in all\n' "$rc" "$(cat "$run/boot" 2>/dev/null)" "$(cat "$run/end" 2>/dev/null)" "$took" >&2
if [ -n "$keep" ]; then echo "run.sh: $run" >&2; else rm -rf "$run"; fi
exit "$rc"
