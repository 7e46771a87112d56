// Runs the steps of the Dockerfile's stages without a Docker engine. Differences to Docker:
// - The file system of a stage is a folder. An absolute path that the stage creates (WORKDIR, VOLUME)
//   means that path below the folder, in every instruction.
// - The base image is this machine with the running Node.js. A note reports another major version.
// - setpriv applies USER, which needs root. Without root all steps run as the caller, chown does
//   nothing, and a note reports this.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { basename, delimiter, join, posix } from 'node:path';
import { expand, parseDockerfile, parseIgnore } from './dockerfile.js';

/** @typedef {import('./dockerfile.js').Step} Step */
/** @typedef {import('./dockerfile.js').Variables} Variables */
/**
 * @typedef {object} Built The state of a stage after the steps that ran so far.
 * @property {string} root Its file system.
 * @property {readonly string[]} paths Absolute paths of the image that are below `root` here.
 * @property {string} workdir
 * @property {string} user
 * @property {Variables} args
 * @property {Variables} env
 * @property {readonly string[]} entrypoint
 * @property {readonly string[]} command
 * @property {readonly string[]} health
 */

const isRoot = process.getuid?.() === 0;

/** The variables of the caller that a build needs to reach the package registry. No others are passed on. */
const callerVariables =
  /^(HOME|LANG|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|(https?|no)_proxy|npm_config_(registry|userconfig|cache|cafile))$/i;
const buildEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => callerVariables.test(name)),
);

/**
 * Builds every stage of ./Dockerfile, in order, below the folder. Returns the last one.
 * @param {string} tmp An empty folder.
 */
export function buildStages(tmp) {
  process.umask(0o022);
  layOutNode(join(tmp, 'bin'));
  layOutContext(join(tmp, 'context'));
  const { args: globals, stages } = parseDockerfile(fs.readFileSync('Dockerfile', 'utf8'));
  /** @type {Map<string, Built>} */
  const built = new Map();
  for (const { name, from, steps } of stages) {
    compareNode(expand(from, globals));
    const stage = toEmptyStage(join(tmp, name), steps);
    built.set(name, stage);
    for (const step of steps) {
      if (step.op === 'RUN') console.log(`${name}: ${step.text}`);
      runStep(step, stage, built);
    }
  }
  const last = [...built.values()].at(-1);
  if (last === undefined) throw new Error('Dockerfile: has no stage');
  return last;
}

/** @param {string} bin */
function layOutNode(bin) {
  fs.mkdirSync(bin);
  // The user of the image may be unable to read the original, so it is copied.
  fs.copyFileSync(process.execPath, join(bin, 'node'), fs.constants.COPYFILE_FICLONE);
  if (isRoot) return;
  console.log('note: without root, USER is ignored and chown does nothing');
  fs.writeFileSync(join(bin, 'chown'), '#!/bin/sh\n', { mode: 0o755 });
}

/** @param {string} context */
function layOutContext(context) {
  const isIgnored = parseIgnore(fs.readFileSync('.dockerignore', 'utf8'));
  for (const name of fs.readdirSync('.').filter((each) => !isIgnored(each))) {
    fs.cpSync(name, join(context, name), { recursive: true, filter: (each) => !isIgnored(each) });
  }
}

/** @param {string} image */
function compareNode(image) {
  const [, major] = /^node:(\d+)\.\d+/.exec(image) ?? [];
  if (major === undefined)
    throw new Error(`${image} is not a node image with a pinned major and minor version`);
  if (process.versions.node.startsWith(`${major}.`)) return;
  console.log(`note: this machine has Node.js ${process.versions.node} instead of ${image}`);
}

/**
 * @param {string} root
 * @param {readonly Step[]} steps
 * @returns {Built}
 */
function toEmptyStage(root, steps) {
  fs.mkdirSync(root);
  const paths = steps
    .filter(({ op }) => op === 'WORKDIR' || op === 'VOLUME')
    .flatMap(({ words }) => words);
  const nothing = { args: {}, env: {}, entrypoint: [], command: [], health: [] };
  return { ...nothing, root, paths, workdir: '/', user: '0:0' };
}

/**
 * @param {Step} step
 * @param {Built} stage
 * @param {ReadonlyMap<string, Built>} built
 */
function runStep(step, stage, built) {
  const variables = { ...stage.args, ...stage.env };
  const words = step.words.map((word) => expand(word, variables));
  if (step.op === 'ARG') assign(stage.args, words);
  else if (step.op === 'ENV') assign(stage.env, words);
  else if (step.op === 'USER') stage.user = words.join();
  else if (step.op === 'ENTRYPOINT') stage.entrypoint = words;
  else if (step.op === 'CMD') stage.command = words;
  else if (step.op === 'HEALTHCHECK') stage.health = words;
  else if (step.op === 'COPY') copy(words, stage, toOrigin(step, stage, built));
  else if (step.op === 'RUN') runShell(stage, step.text, variables);
  else if (step.op === 'WORKDIR') {
    stage.workdir = posix.resolve(stage.workdir, words.join());
    fs.mkdirSync(join(stage.root, stage.workdir), { recursive: true });
  }
  // LABEL, EXPOSE and VOLUME run nothing.
}

/**
 * @param {Variables} variables
 * @param {readonly string[]} words NAME=value
 */
function assign(variables, words) {
  for (const word of words) {
    const [name = '', ...value] = word.split('=');
    variables[name] = value.join('=');
  }
}

/**
 * @param {Step} step
 * @param {Built} stage
 * @param {ReadonlyMap<string, Built>} built
 */
function toOrigin({ flags, text }, stage, built) {
  const name = flags.from;
  if (name === undefined) return join(stage.root, '../context');
  const other = built.get(name);
  if (other === undefined) throw new Error(`COPY ${text}: the stage ${name} does not exist`);
  return other.root;
}

/**
 * @param {readonly string[]} words
 * @param {Built} stage
 * @param {string} origin
 */
function copy(words, stage, origin) {
  const target = words.at(-1) ?? '';
  const into = join(stage.root, posix.resolve(stage.workdir, target));
  for (const word of words.slice(0, -1)) {
    const source = join(origin, word);
    if (!fs.existsSync(source))
      throw new Error(`COPY ${word}: does not exist, or .dockerignore excludes it`);
    // The content of a folder is copied into the target, and so is a file if the target is a folder.
    const keepsName = target.endsWith('/') && fs.statSync(source).isFile();
    fs.cpSync(source, keepsName ? join(into, basename(word)) : into, {
      recursive: true,
      verbatimSymlinks: true,
    });
  }
}

/**
 * @param {Built} stage
 * @param {string} text
 * @param {Variables} variables
 */
function runShell(stage, text, variables) {
  const { status, output } = run(stage, ['/bin/sh', '-ec', text], { ...buildEnv, ...variables });
  if (status !== 0) throw new Error(`RUN ${text}: exit code ${String(status)}\n${output}`);
}

/**
 * Runs a command in the stage and waits for its end.
 * @param {Built} stage
 * @param {readonly string[]} command
 * @param {Variables} env
 */
export function run(stage, command, env) {
  const { file, args, options } = toSpawn(stage, command, env);
  const { status, stdout, stderr, error } = spawnSync(file, args, { ...options, encoding: 'utf8' });
  if (error !== undefined) throw error;
  return { status, output: stdout + stderr };
}

/**
 * Converts a command of the stage to arguments for spawn, with the user, folder and paths of the stage.
 * @param {Built} stage
 * @param {readonly string[]} command
 * @param {Variables} env
 */
export function toSpawn(stage, command, env) {
  const [uid = '0', gid = uid] = stage.user.split(':');
  const privileges = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs'];
  const prefix = isRoot && uid !== '0' ? ['setpriv', ...privileges] : [];
  const [file = '', ...args] = [...prefix, ...command.map((word) => toInside(stage, word))];
  const variables = Object.entries(env).map(([name, value]) => [name, toInside(stage, value)]);
  const path = [join(stage.root, '../bin'), process.env.PATH].join(delimiter);
  const options = {
    cwd: join(stage.root, stage.workdir),
    env: { .../** @type {Variables} */ (Object.fromEntries(variables)), PATH: path },
  };
  return { file, args, options };
}

/**
 * @param {Built} stage
 * @param {string} text
 */
function toInside({ root, paths }, text) {
  return paths.reduce(
    (changed, path) =>
      changed.replaceAll(new RegExp(`(?<![\\w.])${path}(?![\\w-])`, 'g'), root + path),
    text,
  );
}
