# SPDX-License-Identifier: Apache-2.0
# Bash completes what vmm itself knows about its commands and options; otherwise file names.
_vmm() {
  local IFS=$'\n'
  # shellcheck disable=SC2207
  COMPREPLY=($("$1" complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _vmm vmm
