"""What makes a shell ask us. The scripts know nothing: they hand over the line and show the answer.

An answer is lines: first ``files``, ``dirs`` or nothing, and for zsh and fish what stays of the word; then
``TEXT<tab>DESCRIPTION``. Bash breaks words at characters of its own, so its texts begin behind the last of those.
"""

from __future__ import annotations

from builder.cli.completing.engine import Answer

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
# bash completion for pybuild; load it with: source <(pybuild completion bash)
_pybuild() {
    local first line program=$1
    # ./pybuild of whatever directory this is does not run before Enter.
    [[ $program == */* && $program != /* ]] && program=pybuild
    COMPREPLY=()
    {
        IFS= read -r first
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done
    } < <("$program" completion bash --line "${COMP_LINE:0:COMP_POINT}" --breaks "$COMP_WORDBREAKS" 2>/dev/null)
    case $first in
        files) compopt -o default -o plusdirs 2>/dev/null ;;
        dirs) compopt -o plusdirs 2>/dev/null ;;
    esac
    case ${COMPREPLY[0]} in
        *[=,:]) compopt -o nospace 2>/dev/null ;;
    esac
}
complete -F _pybuild pybuild
"""

_ZSH = """\
#compdef pybuild
# zsh completion for pybuild; load it with: source <(pybuild completion zsh)
_pybuild() {
    local first kept line text program=$words[1]
    [[ $program == */* && $program != /* ]] && program=pybuild
    local -a plain open
    {
        IFS= read -r first
        IFS= read -r kept
        while IFS= read -r line; do
            text=${line%%$'\\t'*}
            line=${text//:/\\\\:}:${line#*$'\\t'}
            if [[ $text == *[=,:] ]]; then open+=("$line"); else plain+=("$line"); fi
        done
    } < <("$program" completion zsh --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)
    (( $#plain )) && _describe -t values pybuild plain
    (( $#open )) && _describe -t attributes pybuild open -S ''
    if [[ -n $first ]]; then
        [[ -n $kept ]] && compset -P "${(b)kept}"
        if [[ $first == dirs ]]; then _files -/; else _files; fi
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _pybuild "$@"
else
    (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
    compdef _pybuild pybuild
fi
"""

_FISH = """\
# fish completion for pybuild; load it with: pybuild completion fish | source
function __pybuild_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    string match -qr '^[^/].*/' -- $program; and set program pybuild
    set -l answer ($program completion fish --line (commandline -cp | string collect) 2>/dev/null)
    set -q answer[2]; or return
    printf '%s\\n' $answer[3..-1]
    set -l rest (string sub --start (math (string length -- "$answer[2]") + 1) -- (commandline -ct))
    switch $answer[1]
        case files
            printf '%s\\n' $answer[2](__fish_complete_path $rest)
        case dirs
            printf '%s\\n' $answer[2](__fish_complete_directories $rest)
    end
end
complete -c pybuild -f -a '(__pybuild_complete)'
"""

TEXTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def answered(answer: Answer, shell: str, breaks: str) -> str:
    """Return what the script of a shell reads."""
    if shell == "bash":
        # What stands before the last break is no part of the word for bash; it shows and replaces what follows.
        start = max((answer.word.rfind(mark) for mark in ":=" if mark in breaks), default=-1) + 1
        texts = [text[start:] for text in answer.choices if text.startswith(answer.word[:start])]
        return "\n".join([answer.files, *texts])
    lines = [f"{text}\t{_one_line(told)}" for text, told in answer.choices.items()]
    return "\n".join([answer.files, answer.before, *lines])


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:_WIDEST])


_WIDEST = 80
