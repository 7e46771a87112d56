export type Directive = {
  readonly name: string;
  readonly args: readonly string[];
  /** Empty if the directive ends with a semicolon. */
  readonly block: readonly Directive[];
};

/** Parses an nginx.conf. Throws if a block or a directive is not closed. */
export function parseNginx(text: string): readonly Directive[] {
  const tokens = text
    .replaceAll(/(^|\s)#.*$/gm, '')
    .match(/"[^"]*"|'[^']*'|[{};]|[^\s{};]+/g)
    ?.values();
  const readBlock = (isInner: boolean): Directive[] => {
    const directives: Directive[] = [];
    let words: string[] = [];
    for (;;) {
      const token = tokens?.next().value;
      if (token === undefined || token === '}') {
        if (words.length > 0 || isInner !== (token === '}')) throw new Error('not closed');
        return directives;
      }
      if (token !== ';' && token !== '{') {
        words.push(token.replaceAll(/^["']|["']$/g, ''));
        continue;
      }
      const [name = '', ...args] = words;
      directives.push({ name, args, block: token === '{' ? readBlock(true) : [] });
      words = [];
    }
  };
  return readBlock(false);
}

/** Returns every directive of that name at any depth. */
export function findAll(directives: readonly Directive[], name: string): readonly Directive[] {
  return directives.flatMap((each) => [
    ...(each.name === name ? [each] : []),
    ...findAll(each.block, name),
  ]);
}
