#!/bin/sh
# Make the source of nf_conntrack_rtsp any-source: it then expects the film from whoever sends it, not from the RTSP
# server alone. usage: any-source.sh FOLDER      (the folder with nf_conntrack_rtsp.c; changed in place)
#
# DKMS runs this before every build (see install.sh), on the copy it builds from: the package's own file stays as it is.
# The change is one argument, NULL for the source address, in two calls: RTP's and RTCP's expectation. Besides, the
# module says of itself that it was changed: `modinfo -F version nf_conntrack_rtsp`, /sys/module/nf_conntrack_rtsp/version.
#
# A source that is not the one this was written for is refused, and the build with it: a film that silently does not
# arrive is worse than a module that does not build.
set -eu

known=ac4ac51f6ad5bcf2a266a2d9f076fb0fea4896c89b0d4b6346b3c1ed73807da2 # Debian 12's nat-rtsp-dkms 0.7+5.3-0.2
changed=676ddee143b3f8ed04a89a57b79f14d9595cd973135c051ed069687e848786b3 # the same, with the change below
version=0.7+5.3-any-source

file=${1:?usage: any-source.sh FOLDER}/nf_conntrack_rtsp.c
[ -r "$file" ] || { echo "any-source: there is no $file" >&2; exit 1; }

sum() { sha256sum "$1" | cut -d ' ' -f 1; }
refuse() {
  echo "any-source: $file is not the source of nat-rtsp-dkms 0.7+5.3-0.2 (its SHA-256 is $(sum "$file"))." >&2
  echo "any-source: not built. Use \`helper = \"userspace\"\`, which needs no module, or see docs/kernel-module.md." >&2
  exit 1
}

case $(sum "$file") in
  "$changed") echo "any-source: $file is changed already"; exit 0 ;;
  "$known") ;;
  *) refuse ;;
esac

new=$file.any-source
sed -e 's/&ct->tuplehash\[!dir\]\.tuple\.src\.u3,$/NULL,/' \
  -e "s/^MODULE_LICENSE(\"GPL\");\$/&\\
MODULE_VERSION(\"$version\");/" "$file" >"$new"
[ "$(sum "$new")" = "$changed" ] || { rm -f "$new"; refuse; }
mv "$new" "$file"
echo "any-source: $file now expects the film from any source"
