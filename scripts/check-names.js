// Finds one name for two different functions: top-level functions of src/ share a name only if they are
// the same function in two places. Part of `npm run lint:words`.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import ts from 'typescript';

const paths = execFileSync('git', ['ls-files', '--', 'src'], { encoding: 'utf8' })
  .split('\n')
  .filter((path) => path.endsWith('.ts'));

/** The path and text of each top-level function, by its name. */
const functions = new Map();

for (const path of paths) {
  const file = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  for (const { name, text } of file.statements.flatMap(listFunctions)) {
    functions.set(name, [...(functions.get(name) ?? []), { path, text }]);
  }
}

for (const [name, places] of functions) {
  if (new Set(places.map(({ text }) => text)).size === 1) continue;
  const where = places.map(({ path }) => path).join(', ');
  console.error(`${name}: the name of different functions in ${where}`);
  process.exitCode = 1;
}

/** @param {ts.Statement} statement */
function listFunctions(statement) {
  if (ts.isFunctionDeclaration(statement) && statement.name && statement.body) {
    return [{ name: statement.name.text, text: statement.getText().replace(/^export /, '') }];
  }
  if (!ts.isVariableStatement(statement)) return [];
  return statement.declarationList.declarations
    .filter(({ initializer }) => initializer !== undefined && ts.isArrowFunction(initializer))
    .map((declaration) => ({ name: declaration.name.getText(), text: declaration.getText() }));
}
