// Finds words and names that the glossary has replaced (docs/concepts/glossary.md); part of `npm run lint`.
// Leaves out docs/adr/ and bench/results/, which are records of their time, and this file.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Each replaced word as a regular expression, and the word of the glossary to use instead. */
const replaced = [
  ['Parcels?(?![a-z])|\\bparcels?[A-Z]', 'BatchItem'],
  ['\\b(put|get|to|read|decode)Memos?\\b', 'fact'],
  ['\\b[Mm]endEntr\\w*|\\btoMended', 'reingest'],
  ['Sourced\\b|\\bacceptSourced|\\bdraftSourced', 'SourceEntry, acceptFromSource'],
  ['\\bUnsent\\b', 'UnmappableEntry'],
  ['\\bnoCall\\b', 'invalidCall'],
  ['\\bonFault\\b', 'onFatal'],
  ['\\bCollector\\b', 'BatchBuilder'],
  ['\\bSeenLog\\b', 'DedupeLog'],
  ['[Pp]relude', 'lib.lua'],
  ['\\bTurns\\b(?! )', 'Mutex'],
  ['\\bBell\\b|\\bbells?\\b', 'Signal'],
  ['[Uu]nblamed', 'unattributed'],
  ['Follower(?!s? of)\\b', 'ImportJobPoller'],
  ['\\bcreateFar\\b|\\bfarSide\\b', 'Klaviyo'],
  ['\\bmayGo\\b|\\bguardBody\\b', 'stillOwned'],
  ['\\b[Bb]ury(All|ing)?\\b', 'dead-letter'],
  ['\\b[Mm]ended\\b', 'reingest'],
  ['\\bKeyHolds?\\b', 'KeyLocks'],
  ['\\bStageDeps\\b', 'what each part needs, by name'],
  ['[Ss]hel(f|ves)(?![a-z])', 'RedisQueries'],
  ['\\b[Ii]nsist', 'retryUntilAcknowledged'],
  ['\\bfar side\\b|\\b(start|create)Far', 'Klaviyo, or the fake relay of a test'],
  ['\\bthe books\\b', 'conservation'],
  ['\\b[Ss]trays?\\b(?! quote)', 'unmatched'],
  ['\\bscratch\\b', 'BufferPool'],
  ['\\b(untold|this far)\\b', 'the plain word'],
  ['\\bsuspect(s|ed)?\\b', 'isolation'],
  ['\\bTrouble\\b|\\btroubles?\\b', 'fault, PauseReason'],
  ['\\bstand-in\\b', 'local simulation'],
];

const files = execFileSync(
  'git',
  [
    ...['ls-files', '--', 'src', 'test', 'bench', 'scripts', 'docs', '*.md', 'deploy'],
    ...[':!docs/adr', ':!bench/results', ':!CHANGELOG.md', ':!docs/concepts/glossary.md'],
    ':!scripts/check-words.js',
  ],
  { encoding: 'utf8' },
)
  .split('\n')
  .filter((path) => /\.(ts|js|lua|md|html|css|sh|ya?ml)$/.test(path));

const rules = replaced.map(([pattern = '', instead]) => ({
  pattern: new RegExp(pattern),
  instead,
}));
const found = files.flatMap((path) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .flatMap((line, index) => {
      return rules.flatMap(({ pattern, instead }) => {
        const word = pattern.exec(line)?.[0];
        return word === undefined
          ? []
          : [
              `${path}:${String(index + 1)}: "${word}": ${String(instead)} (docs/concepts/glossary.md)`,
            ];
      });
    }),
);
for (const each of found) console.error(each);
if (found.length > 0) process.exitCode = 1;
