# SPDX-License-Identifier: Apache-2.0
# Fish completes what vmm itself knows about its commands and options, and file names.
function __vmm_complete
    set -l words (commandline -opc)
    $words[1] complete $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c vmm -a '(__vmm_complete)'
