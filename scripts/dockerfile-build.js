// Runs the steps of the Dockerfile's stages without a Docker engine. What differs from Docker:
// - A stage's file system is a folder. An absolute path that the stage makes (WORKDIR, VOLUME)
//   stands for that path below the folder, in every instruction.
// - The base image is this machine with the running Node; a different major is told.
// - USER is taken on by setpriv, which needs root. Without root all runs as the caller and chown
//   does nothing; that is told, too.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { basename, delimiter, join, posix } from 'node:path';
import { expand, parseDockerfile, parseIgnore } from './dockerfile.js';

/** @typedef {import('./dockerfile.js').Step} Step */
/** @typedef {import('./dockerfile.js').Variables} Variables */
/**
 * @typedef {object} Built What a stage has come to.
 * @property {string} root Its file system.
 * @property {readonly string[]} paths Absolute paths that are meant to be below `root`.
 * @property {string} workdir
 * @property {string} user
 * @property {Variables} args
 * @property {Variables} env
 * @property {readonly string[]} entrypoint
 * @property {readonly string[]} command
 * @property {readonly string[]} health
 */

const isRoot = process.getuid?.() === 0;

/** What a build needs of the caller to reach its package registry, and nothing else of it. */
const ofCaller =
  /^(HOME|LANG|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|(https?|no)_proxy|npm_config_(registry|userconfig|cache|cafile))$/i;
const buildEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => ofCaller.test(name)),
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
  if (last === undefined) throw new Error('Dockerfile: there is no stage');
  return last;
}

/** @param {string} bin */
function layOutNode(bin) {
  fs.mkdirSync(bin);
  // Copied: the original may be where the image's user cannot look.
  fs.copyFileSync(process.execPath, join(bin, 'node'), fs.constants.COPYFILE_FICLONE);
  if (isRoot) return;
  console.log('note: not root, so USER is not taken on and chown does nothing');
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
  if (major === undefined) throw new Error(`${image} is no node image with major and minor pinned`);
  if (process.versions.node.startsWith(`${major}.`)) return;
  console.log(`note: this is Node ${process.versions.node}, not ${image}`);
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
  // LABEL, EXPOSE and VOLUME: nothing to run.
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
  if (other === undefined) throw new Error(`COPY ${text}: there is no stage ${name}`);
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
    if (!fs.existsSync(source)) throw new Error(`COPY ${word}: not there; .dockerignore?`);
    // The content of a folder goes into the target; so does a file where the target is a folder.
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
 * A command of the stage for spawn: as its user, in its folder, with its paths.
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
