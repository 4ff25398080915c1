# Debian's Chromium for `make test-browser`, if there is none. Where it can't be installed, the tests
# are skipped and say why.
command -v chromium >/dev/null || command -v chromium-browser >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get install --yes --quiet --no-install-recommends chromium ||
        { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends chromium; }
else
    echo "There is no Chromium, and only root can install it: apt-get install chromium"
fi
exit 0
