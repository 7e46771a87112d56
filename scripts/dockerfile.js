// Reads a Dockerfile and a .dockerignore: as much of the two formats as ours use, and an error for
// all else, so that nothing is skipped in silence.
// Source: https://docs.docker.com/reference/dockerfile/ and its section on .dockerignore.

/** @typedef {Record<string, string>} Variables */
/**
 * @typedef {object} Step
 * @property {string} op RUN, COPY, …
 * @property {Variables} flags `--from=build` is `from: 'build'`.
 * @property {string} text What follows them.
 * @property {readonly string[]} words Of an exec form its list, or else the text split at blanks.
 */
/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {string} from
 * @property {Step[]} steps
 */

const known =
  /^(ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|RUN|USER|VOLUME|WORKDIR)$/;
/** Its shell form would put a shell where signals are to arrive. */
const execOnly = /^(CMD|ENTRYPOINT|HEALTHCHECK)$/;

/**
 * Throws on what it does not understand.
 * @param {string} text
 * @returns {{ args: Variables, stages: readonly Stage[] }} `args`: those before the first FROM.
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
  // Comments go first: inside an instruction of several lines they are no part of it.
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
 * Fills in `${NAME}`. Throws where there is none, which Docker would take for empty.
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
 * @returns {(path: string) => boolean} Whether a path, from the root of the context, is left out.
 */
export function parseIgnore(text) {
  const rules = text
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .map((line) => {
      const [, not = '', pattern = ''] = /^(!?)\/?(.*?)\/?$/.exec(line.trim()) ?? [];
      if (/[?[\]\\]|\*\*/.test(pattern)) throw new Error(`.dockerignore: not understood: ${line}`);
      const source = pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]*');
      // A folder's line holds for all that is in it.
      return { isOut: not === '', matches: new RegExp(`^${source}(/|$)`) };
    });
  // The last line that matches decides.
  return (path) => rules.findLast(({ matches }) => matches.test(path))?.isOut ?? false;
}
