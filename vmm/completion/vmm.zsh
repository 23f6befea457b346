#compdef vmm
# SPDX-License-Identifier: Apache-2.0
# Zsh completes what vmm itself knows about its commands and options; otherwise file names.
local -a candidates
candidates=(${(f)"$(${words[1]} complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
if (( $#candidates )); then
  compadd -a candidates
else
  _files
fi
