# Millgate in an image without compiler and package manager's leftovers, run as an unprivileged user.
#
#   docker build -t millgate .
#   docker run --rm -p 8443:8443 -p 8444:8444 -v ./plant:/etc/millgate:ro -v millgate:/var/lib/millgate millgate
#
# Pin both base images by digest where you build for production.

FROM rust:1.95-slim-bookworm AS build
# The image's own toolchain: rust-toolchain.toml would have rustfmt and clippy downloaded.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN cargo build --locked --workspace --profile dist --bin millgate --bin millgate-verify \
    && install -D -t /out/usr/local/bin target/dist/millgate target/dist/millgate-verify \
    && install -D -m 644 -t /out/usr/share/millgate/policies/schema policies/schema/* \
    && install -D -m 644 -t /out/usr/share/millgate/policies/base policies/base/* \
    && install -D -m 644 -t /out/usr/share/doc/millgate LICENSE \
    && install -D -m 644 -t /out/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt \
    && install -d -o 65532 -g 65532 /out/var/lib/millgate

FROM debian:bookworm-slim
COPY --from=build /out /
USER 65532:65532
# data and api; the operator listener stays inside
EXPOSE 8443 8444
VOLUME ["/var/lib/millgate"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/millgate"]
CMD ["serve", "--config", "/etc/millgate/millgate.toml"]
