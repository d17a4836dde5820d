#!/bin/sh
# Builds Prism and the worker's boot program from Beam's Go modules: build.sh VERSION FOLDER
# Versions of modules are those that Beam's go.mod requires; Go compares their checksums with its checksum database, unless its
# settings (GOSUMDB, GONOSUMDB) say otherwise.
# Beam's Prism listens on all interfaces. This one listens on the loopback interface only.
set -eu
version=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
beam=github.com/apache/beam/sdks/v2
server=vendor/$beam/go/pkg/beam/runners/prism/internal/jobservices/server.go
source=$(mktemp -d)
trap 'chmod -R u+w "$source"; rm -rf "$source"' EXIT
cd "$source"
cat > programs.go <<END
package programs

import (
	_ "$beam/go/cmd/prism"
	_ "$beam/python/container"
)
END
go mod init programs
go get "$beam/go/cmd/prism@v$version" "$beam/python/container@v$version"
go mod vendor
chmod u+w "$(dirname "$server")" "$server"
sed 's/Listen("tcp", fmt.Sprintf(":%d", port))/Listen("tcp", fmt.Sprintf("localhost:%d", port))/' "$server" > changed
if cmp -s changed "$server"; then
    echo "Prism of Beam $version opens its port in another way: adapt engines/build.sh." >&2
    exit 1
fi
cat changed > "$server"
go build -o "$folder/prism" "$beam/go/cmd/prism"
go build -o "$folder/boot" "$beam/python/container"
