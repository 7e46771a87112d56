// Finds the mutants of a TypeScript source and writes one text that holds all of them: each mutant is behind
// `mutant(id)`, which returns true only while that mutant is active. Each source is therefore compiled and loaded once.
import ts from 'typescript';

/** @typedef {import('./mutants.js').Mutant} Mutant */

/** @type {Readonly<Record<string, readonly string[]>>} The replacements of each operator. */
const operators = {
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '===': ['!=='],
  '!==': ['==='],
  '&&': ['||'],
  '||': ['&&'],
  '??': ['&&'],
};

/** @type {Readonly<Record<string, string>>} */
const assignments = { '+=': '-=', '-=': '+=', '*=': '/=', '/=': '*=', '??=': '=' };

/** A map, since a source may call any method, `toString` for example. */
const methods = new Map([
  ['min', 'max'],
  ['max', 'min'],
  ['some', 'every'],
  ['every', 'some'],
  ['floor', 'ceil'],
  ['ceil', 'floor'],
]);

/**
 * @param {string} file
 * @param {string} text
 * @param {number} firstId
 * @returns {{ text: string, mutants: Mutant[] }} `text` with all mutants; their ids count up from `firstId`
 */
export function mutateSource(file, text, firstId) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  /** @type {Mutant[]} */
  const mutants = [];

  /**
   * @param {ts.Node} node
   * @param {string} replacement
   * @returns {number}
   */
  const add = (node, replacement) => {
    const start = node.getStart(source);
    const id = firstId + mutants.length;
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    mutants.push({ id, file, line, original: node.getText(source), replacement });
    return id;
  };

  /**
   * @param {ts.Node} node
   * @returns {string} the node's text, with the mutants inside of it
   */
  const render = (node) => {
    if (
      ts.isTypeNode(node) ||
      ts.isInterfaceDeclaration(node) ||
      ts.isTypeAliasDeclaration(node) ||
      ts.isImportDeclaration(node)
    )
      return node.getText(source);
    const ids = findReplacements(node, source).map((replacement) => ({
      id: add(node, replacement),
      replacement,
    }));
    const inner = renderChildren(node);
    if (ts.isExpressionStatement(node))
      return ids.reduce((left, { id }) => `{ if (!mutant(${id})) { ${left} } }`, inner);
    // `async () => x` may return an object: its parentheses belong to the text.
    return ids.reduce(
      (left, { id, replacement }) => `(mutant(${id}) ? (${replacement}) : ${left})`,
      ids.length > 0 ? `(${inner})` : inner,
    );
  };

  /** @param {ts.Node} node */
  const renderChildren = (node) => {
    let at = node.getStart(source);
    let out = '';
    node.forEachChild((child) => {
      const start = child.getStart(source);
      out += text.slice(at, start) + render(child);
      at = child.getEnd();
    });
    return out + text.slice(at, node.getEnd());
  };

  return { text: renderChildren(source), mutants };
}

/**
 * @param {ts.Node} node
 * @param {ts.SourceFile} source
 * @returns {readonly string[]} the replacements of the node; '' removes an expression statement
 */
function findReplacements(node, source) {
  if (ts.isExpressionStatement(node)) return isRemovable(node.expression) ? [''] : [];
  if (!isReplaceable(node)) return [];
  return [
    ...findOwnReplacements(node, source),
    ...(isCondition(node) && !isBooleanLiteral(node) ? findConditionReplacements(node) : []),
    ...(isReturned(node) ? ['undefined'] : []),
  ];
}

/** @param {ts.Expression} expression */
function isRemovable(expression) {
  return !(
    ts.isCallExpression(expression) && expression.expression.kind === ts.SyntaxKind.SuperKeyword
  );
}

/**
 * @param {ts.Node} node
 * @param {ts.SourceFile} source
 * @returns {readonly string[]}
 */
function findOwnReplacements(node, source) {
  if (ts.isBinaryExpression(node)) return replaceOperator(node, source);
  if (node.kind === ts.SyntaxKind.TrueKeyword) return ['false'];
  if (node.kind === ts.SyntaxKind.FalseKeyword) return ['true'];
  if (ts.isNumericLiteral(node)) return [replaceNumber(node)];
  if (ts.isPrefixUnaryExpression(node)) return replacePrefix(node, source);
  if (ts.isPostfixUnaryExpression(node)) {
    const operand = node.operand.getText(source);
    return [node.operator === ts.SyntaxKind.PlusPlusToken ? `${operand}--` : `${operand}++`];
  }
  if (ts.isCallExpression(node)) return replaceMethod(node, source);
  return [];
}

/**
 * @param {ts.BinaryExpression} node
 * @param {ts.SourceFile} source
 */
function replaceOperator(node, source) {
  const operator = node.operatorToken.getText(source);
  const left = node.left.getText(source);
  const right = node.right.getText(source);
  const others = operators[operator] ?? (assignments[operator] ? [assignments[operator]] : []);
  return others.map((other) =>
    operator in assignments ? `${left} ${other} ${right}` : `(${left}) ${other} (${right})`,
  );
}

/** @param {ts.NumericLiteral} node */
function replaceNumber(node) {
  const value = Number(node.text);
  return value === 0 ? '1' : value === 1 ? '0' : String(2 * value + 1);
}

/**
 * @param {ts.PrefixUnaryExpression} node
 * @param {ts.SourceFile} source
 * @returns {readonly string[]}
 */
function replacePrefix(node, source) {
  const operand = node.operand.getText(source);
  if (node.operator === ts.SyntaxKind.ExclamationToken)
    return isCondition(node) ? [] : [`!!(${operand})`];
  if (node.operator === ts.SyntaxKind.MinusToken) return [operand];
  if (node.operator === ts.SyntaxKind.PlusPlusToken) return [`--${operand}`];
  if (node.operator === ts.SyntaxKind.MinusMinusToken) return [`++${operand}`];
  return [];
}

/**
 * @param {ts.CallExpression} node
 * @param {ts.SourceFile} source
 * @returns {readonly string[]}
 */
function replaceMethod(node, source) {
  const called = node.expression;
  if (!ts.isPropertyAccessExpression(called)) return [];
  const other = methods.get(called.name.text);
  const args = node.arguments.map((each) => each.getText(source)).join(', ');
  if (other !== undefined) return [`${called.expression.getText(source)}.${other}(${args})`];
  return called.name.text === 'filter' ? [called.expression.getText(source)] : [];
}

/** @param {ts.Node} node */
function isBooleanLiteral(node) {
  return node.kind === ts.SyntaxKind.TrueKeyword || node.kind === ts.SyntaxKind.FalseKeyword;
}

/** @param {ts.Node} node */
function isLoop(node) {
  return ts.isWhileStatement(node) || ts.isDoStatement(node) || ts.isForStatement(node);
}

/**
 * The condition of a loop is only replaced by false, because a loop with true would not end.
 *
 * @param {ts.Node} node
 */
function findConditionReplacements(node) {
  return isLoop(node.parent) ? ['false'] : ['true', 'false'];
}

/** @param {ts.Node} node */
function isCondition(node) {
  const { parent } = node;
  if (ts.isIfStatement(parent) || ts.isWhileStatement(parent) || ts.isDoStatement(parent))
    return parent.expression === node;
  return (
    (ts.isForStatement(parent) || ts.isConditionalExpression(parent)) && parent.condition === node
  );
}

/** @param {ts.Node} node */
function isReturned(node) {
  const { parent } = node;
  const isResult =
    ts.isReturnStatement(parent) ||
    (ts.isArrowFunction(parent) && parent.body === node && !ts.isBlock(node));
  const isUndefined = ts.isIdentifier(node) && node.text === 'undefined';
  return isResult && !isUndefined && !isBooleanLiteral(node);
}

/**
 * @param {ts.Node} node
 * @returns {node is ts.Expression} false for a name, a key or a type, which no expression can replace
 */
function isReplaceable(node) {
  const { parent } = node;
  // One link of `a?.b.c()` cannot be replaced alone.
  if ((node.flags & ts.NodeFlags.OptionalChain) !== 0) return false;
  if (!ts.isExpression(node) || ts.isExpressionStatement(parent)) return false;
  if (ts.isLiteralTypeNode(parent) || ts.isEnumMember(parent)) return false;
  if ((ts.isPropertyAssignment(parent) || ts.isPropertyDeclaration(parent)) && parent.name === node)
    return false;
  return !(ts.isPrefixUnaryExpression(parent) && ts.isNumericLiteral(node));
}
