# pybuild's own image: of Debian what it needs, for uid 1000. docs/ci.md says how it is used.
#
#     pybuild -t registry.example/tools/pybuild:1 --push .
#
# Without a package index, wheels can come from a directory: --build-context wheels=DIR --build-arg PIP_NO_INDEX=1
ARG DEBIAN=debian:bookworm-slim

FROM scratch AS wheels

FROM $DEBIAN AS tools
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN <<END
apt-get update -qq
apt-get install -y -qq --no-install-recommends binutils ca-certificates libcap2-bin python3-pip python3-venv >/dev/null
END

FROM tools AS root
WORKDIR /packages
# Only the files of these: packages that others depend on for their scripts alone stay out.
RUN <<END
chmod 777 .
packages=(
    busybox-static ca-certificates gcc-12-base git libc6 netbase python3-minimal python3.11-minimal uidmap
    libbz2-1.0 libexpat1 libffi8 libgcc-s1 liblzma5 libpython3.11-minimal libpython3.11-stdlib libssl3 zlib1g
    libacl1 libattr1 libaudit1 libcap-ng0 libcrypt1 libpam0g libpcre2-8-0 libselinux1 libsemanage2 libsepol2
    libbrotli1 libcom-err2 libcurl3-gnutls libgmp10 libgnutls30 libgssapi-krb5-2 libhogweed6 libidn2-0 libk5crypto3 libkeyutils1
    libkrb5-3 libkrb5support0 libldap-2.5-0 libnettle8 libnghttp2-14 libp11-kit0 libpsl5 librtmp1 libsasl2-2 libssh2-1
    libtasn1-6 libunistring2 libzstd1
)
apt-get download -qq "${packages[@]}"
END
WORKDIR /root/new
RUN <<END
mkdir -p usr/{bin,sbin,lib,lib64} etc home/pybuild tmp var/tmp run proc sys dev workspace var/lib/dpkg/status.d
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
for package in /packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --exclude='./usr/share/[mlbgip]*' --exclude='./usr/lib/*/gconv'
    dpkg-deb --field "$package" >var/lib/dpkg/status.d/$(basename "${package%%_*}")
done
find usr/share -type f ! -name copyright ! -path '*/ca-certificates/*' -delete
rm -rf usr/lib/python3*/{ensurepip,idlelib,lib2to3,pydoc_data,test,tkinter,turtledemo,distutils} usr/bin/{git-shell,scalar} etc/init.d
# git is one program with many names; of the others those that clone.
find usr/lib/git-core -mindepth 1 ! -type l ! -name git-remote-http ! -name git-submodule ! -name 'git-sh-*' -delete
ln -s ../../bin/git usr/lib/git-core/git
for name in $(usr/bin/busybox --list); do
    [ -e usr/bin/$name ] || [ -e usr/sbin/$name ] || ln -s busybox usr/bin/$name
done
# As set-uid programs they would need CAP_SYS_ADMIN, which containers do not have.
chmod u-s usr/bin/new{u,g}idmap
setcap cap_setuid+ep usr/bin/newuidmap
setcap cap_setgid+ep usr/bin/newgidmap
cp /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/
mkdir -p usr/lib/ssl
ln -s /etc/ssl/certs/ca-certificates.crt usr/lib/ssl/cert.pem
echo 'root:x:0:0:root:/root:/bin/sh
pybuild:x:1000:1000::/home/pybuild:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >etc/passwd
echo 'root:x:0:
pybuild:x:1000:
nogroup:x:65534:' >etc/group
echo 'pybuild:100000:65536' | tee etc/subuid >etc/subgid
echo 'hosts: files dns' >etc/nsswitch.conf
chmod 1777 tmp var/tmp
chown 1000:1000 home/pybuild workspace
ldconfig -r .
python3 -m compileall -q --invalidation-mode unchecked-hash -s . -p / usr/lib/python3.11
END

FROM tools AS app
COPY pyproject.toml README.md LICENSE /source/
COPY builder /source/builder
ARG PIP_NO_INDEX
RUN --mount=from=wheels,target=/wheels <<END
python3 -m venv --without-pip /opt/pybuild
pip --python /opt/pybuild/bin/python install --quiet --no-cache-dir --no-compile --find-links /wheels /source
# What CPython does not need, tables for debuggers, and other projects' commands.
rm /opt/pybuild/lib/python*/site-packages/zstandard/_cffi*
find /opt/pybuild -name '*.so' -exec strip --strip-unneeded {} +
find /opt/pybuild/bin -type f ! -name pybuild -delete
python3 -m compileall -q --invalidation-mode unchecked-hash /opt/pybuild/lib
END

FROM scratch
COPY --from=root /root/new /
COPY --from=app /opt/pybuild /opt/pybuild
ENV PATH=/opt/pybuild/bin:/usr/bin:/usr/sbin HOME=/home/pybuild PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
WORKDIR /workspace
ENTRYPOINT ["pybuild"]
LABEL org.opencontainers.image.title="pybuild" org.opencontainers.image.licenses="Apache-2.0"
