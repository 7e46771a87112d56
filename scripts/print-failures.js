// Prints the failed tests of a report that vitest wrote as JSON, in few lines each: the end of a long log is
// often all that is shown. Usage: node scripts/print-failures.js REPORT
import { readFileSync } from 'node:fs';

const maxTests = 20;
const maxLines = 15;
const maxChars = 300;

const { testResults } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const failures = testResults.flatMap(({ name, status, message, assertionResults }) => {
  const failed = assertionResults.filter((each) => each.status === 'failed');
  if (failed.length === 0 && status === 'failed') return [{ title: name, messages: [message] }];
  return failed.map(({ fullName, failureMessages }) => ({
    title: fullName,
    messages: failureMessages,
  }));
});

for (const { title, messages } of failures.slice(0, maxTests)) {
  const lines = messages
    .join('\n')
    .split('\n')
    .filter((line) => !/^\s+at .*node_modules/.test(line));
  const shown = lines.slice(0, maxLines).map((line) => `  ${line.slice(0, maxChars)}`);
  process.stdout.write(`FAILED: ${title}\n${shown.join('\n')}\n`);
}
if (failures.length > maxTests) process.stdout.write(`and ${failures.length - maxTests} more\n`);
