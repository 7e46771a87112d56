# klaviyo-relay. Build: docker build -t klaviyo-relay .
# Run:   docker run --read-only --tmpfs /tmp -p 127.0.0.1:3000:3000 -v relay-data:/data \
#          -e KLAVIYO_API_KEY=pk_… -e RELAY_API_KEYS=… klaviyo-relay
# `npm run dockerfile` runs these steps without a Docker engine (scripts/dockerfile-steps.sh).

# Major and minor are pinned; a rebuild picks up the patch releases.
ARG NODE_VERSION=24.21

FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /app
# Only the manifests are copied first, so that the layer of installed packages is cached until they change.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
RUN npm run build

FROM node:${NODE_VERSION}-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev

FROM node:${NODE_VERSION}-bookworm-slim AS runtime
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="klaviyo-relay" \
      org.opencontainers.image.description="Accepts events and profiles over HTTP, keeps them safe, and delivers them to Klaviyo's bulk APIs within Klaviyo's limits." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
WORKDIR /app
# root owns all of /app, so the relay cannot change its own code.
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json LICENSE ./
# The only directory that the relay writes to. A named volume takes this owner when it is first used;
# a bind mount must already belong to user 1000.
RUN mkdir /data && chown 1000:1000 /data
VOLUME /data
# The relay listens on all addresses, and then does not start without RELAY_API_KEYS. This is
# intended: a container must not accept events from its whole network without a key.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 DATA_DIR=/data
EXPOSE 3000
# The `node` user of the image, by number, because Kubernetes cannot check a name for runAsNonRoot.
USER 1000:1000
# /livez and not /readyz: a relay that is full or draining must not be restarted.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/livez').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Exec form: node is PID 1 and receives SIGTERM itself. The relay installs a handler for it, which
# PID 1 needs. Its drain takes up to SHUTDOWN_TIMEOUT_MS (10 s), which is also the default of
# `docker stop`: use `docker stop --timeout 15`.
# The same flags of Node.js as in `npm start`; docs/adr/0012 explains them.
ENTRYPOINT ["node", "--v8-pool-size=1", "--max-semi-space-size=32", "/app/dist/main.js"]
CMD ["start"]
