// Parses a Dockerfile and a .dockerignore. It supports the parts of the formats that the project uses,
// and throws on everything else, so that nothing is skipped silently.
// Source: https://docs.docker.com/reference/dockerfile/ and its section on .dockerignore.

/** @typedef {Record<string, string>} Variables */
/**
 * @typedef {object} Step
 * @property {string} op RUN, COPY, …
 * @property {Variables} flags `--from=build` is `from: 'build'`.
 * @property {string} text The rest of the instruction after the flags.
 * @property {readonly string[]} words The list of an exec form, else the text split at blanks.
 */
/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {string} from
 * @property {Step[]} steps
 */

const known =
  /^(ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|RUN|USER|VOLUME|WORKDIR)$/;
/** Instructions that need the exec form: with the shell form, a shell would receive the signals. */
const execOnly = /^(CMD|ENTRYPOINT|HEALTHCHECK)$/;

/**
 * Throws on syntax that it does not support.
 * @param {string} text
 * @returns {{ args: Variables, stages: readonly Stage[] }} `args`: the arguments before the first FROM.
 */
export function parseDockerfile(text) {
  /** @type {Variables} */
  const args = {};
  /** @type {Stage[]} */
  const stages = [];
  for (const line of toInstructions(text)) {
    const step = toStep(line);
    const stage = stages.at(-1);
    if (step.op === 'FROM') {
      const [from = '', , name = String(stages.length)] = step.words;
      stages.push({ name, from, steps: [] });
    } else if (stage !== undefined) {
      stage.steps.push(step);
    } else {
      const [name = '', value = ''] = (step.words[0] ?? '').split('=');
      args[name] = value;
    }
  }
  return { args, stages };
}

/** @param {string} text */
function toInstructions(text) {
  // Comments are removed first, because they can be inside an instruction of several lines.
  const lines = text.split('\n').filter((line) => !/^\s*(#|$)/.test(line));
  return lines.join('\n').replaceAll('\\\n', ' ').split('\n');
}

/**
 * @param {string} line
 * @returns {Step}
 */
function toStep(line) {
  const [, op = '', rest = ''] = /^(\w+)\s+(.*)$/.exec(line) ?? [];
  const [options = ''] = /^(--[a-z-]+=\S+\s+)*/.exec(rest) ?? [];
  const flags = Object.fromEntries(
    [...options.matchAll(/--([a-z-]+)=(\S+)/g)].map(([, name = '', value = '']) => [name, value]),
  );
  const isCheck = op === 'HEALTHCHECK';
  const text = rest
    .slice(options.length)
    .replace(isCheck ? /^CMD\s+/ : /^/, '')
    .trim();
  const isExec = text.startsWith('[');
  const isFlagKnown =
    isCheck || Object.keys(flags).every((name) => op === 'COPY' && name === 'from');
  if (!known.test(op) || !isFlagKnown || (execOnly.test(op) && !isExec)) {
    throw new Error(`Dockerfile: not understood: ${line}`);
  }
  return { op, flags, text, words: isExec ? toTexts(text) : toWords(text) };
}

/** @param {string} text */
function toTexts(text) {
  /** @type {unknown} */
  const list = JSON.parse(text);
  return Array.isArray(list) ? list.map(String) : [];
}

/** @param {string} text */
function toWords(text) {
  return (text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []).map((word) => word.replaceAll('"', ''));
}

/**
 * Replaces each `${NAME}` by its value. Throws if a variable does not exist, which Docker would replace by nothing.
 * @param {string} text
 * @param {Variables} variables
 */
export function expand(text, variables) {
  return text.replaceAll(/\$\{(\w+)\}/g, (_, /** @type {string} */ name) => {
    const value = variables[name];
    if (value === undefined) throw new Error(`Dockerfile: there is no ${name}`);
    return value;
  });
}

/**
 * @param {string} text A .dockerignore: names and `*`, with `!` for exceptions.
 * @returns {(path: string) => boolean} Returns true if it excludes a path, relative to the root of the context.
 */
export function parseIgnore(text) {
  const rules = text
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .map((line) => {
      const [, not = '', pattern = ''] = /^(!?)\/?(.*?)\/?$/.exec(line.trim()) ?? [];
      if (/[?[\]\\]|\*\*/.test(pattern)) throw new Error(`.dockerignore: not understood: ${line}`);
      const source = pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*');
      // The line of a folder applies to everything in it.
      return { isOut: not === '', matches: new RegExp(`^${source}(/|$)`) };
    });
  // The last matching line decides.
  return (path) => rules.findLast(({ matches }) => matches.test(path))?.isOut ?? false;
}
