# The same image as `cargo xtask image` makes, for whoever has a container builder.
FROM rust:1.95-trixie AS build
WORKDIR /plimsoll
COPY . .
# The C library is inside, so that the image needs nothing of a distribution.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN target=$(rustc -vV | sed -n 's/^host: //p') && \
    cargo build --release --locked --package plimsoll --target "$target" && \
    cp "target/$target/release/plimsoll" /usr/bin/plimsoll && \
    echo 'hosts: files dns' >/nsswitch.conf

FROM gcr.io/distroless/static-debian13:nonroot
COPY --from=build /nsswitch.conf /etc/nsswitch.conf
COPY --from=build /usr/bin/plimsoll /usr/bin/plimsoll
LABEL org.opencontainers.image.title="plimsoll" \
      org.opencontainers.image.description="SLOs as code for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
ENTRYPOINT ["/usr/bin/plimsoll"]
