import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

// dependency-cruiser checks which file imports which (.dependency-cruiser.js). The rules below
// restrict names and syntax; test/architecture.test.ts breaks each of them once.

const namedExports = [
  { selector: 'ExportDefaultDeclaration', message: 'Use named exports.' },
  { selector: 'ExportSpecifier[exported.name="default"]', message: 'Use named exports.' },
];
const honestTypes = [
  { selector: 'TSAsExpression > TSUnknownKeyword', message: 'No casts through unknown.' },
];

const useClock = 'Take a Clock as an argument; only src/clock.ts reads the time.';
const readsTime = [
  { selector: 'NewExpression[callee.name="Date"][arguments.length=0]', message: useClock },
  { selector: 'CallExpression[callee.name="Date"]', message: useClock },
];
const timeProperties = [
  { object: 'Date', property: 'now', message: useClock },
  { object: 'performance', property: 'now', message: useClock },
  { object: 'process', property: 'hrtime', message: useClock },
  { object: 'AbortSignal', property: 'timeout', message: useClock },
];
const timerModules = ['timers', 'timers/promises', 'node:timers', 'node:timers/promises'];

/** @param {string} message */
const withoutTimers = (message) => ({
  'no-restricted-globals': [
    'error',
    {
      globals: ['setTimeout', 'setInterval'].map((name) => ({ name, message })),
      checkGlobalObject: true,
    },
  ],
  'no-restricted-imports': ['error', { paths: timerModules.map((name) => ({ name, message })) }],
});

const randomProperties = [
  { object: 'Math', property: 'random', message: 'Take a random function as an argument.' },
];
const environmentProperties = [
  { object: 'process', property: 'env', message: 'Take settings as arguments.' },
];

const noSleep = 'Tests do not sleep: wait for a condition, or move a manual clock.';
const sleeps = [
  { selector: 'CallExpression[callee.name=/^(sleep|delay)$/]', message: noSleep },
  {
    selector:
      'CallExpression[callee.name="wait"] > Identifier.arguments:first-child[name="systemClock"]',
    message: noSleep,
  },
];

export default defineConfig(
  { ignores: ['dist', 'coverage', 'data', '.mutate'] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: true,
      },
    },
    rules: {
      '@typescript-eslint/consistent-type-definitions': ['error', 'type'],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/prefer-nullish-coalescing': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // Two rules that took a third of the time. There are no enums (erasableSyntaxOnly), and the
      // compiler itself tells classes with #private members apart.
      '@typescript-eslint/no-unsafe-enum-assignment': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      'max-params': ['error', 3],
      'no-console': 'error',
      'no-restricted-syntax': ['error', ...namedExports, ...honestTypes],
      'no-warning-comments': ['error', { terms: ['todo', 'fixme', 'xxx'], location: 'anywhere' }],
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      complexity: ['error', 15],
      '@typescript-eslint/ban-ts-comment': ['error', { 'ts-expect-error': true }],
      'no-restricted-syntax': ['error', ...namedExports, ...honestTypes, ...readsTime],
      'no-restricted-properties': [
        'error',
        ...timeProperties,
        ...randomProperties,
        ...environmentProperties,
      ],
      ...withoutTimers(useClock),
    },
  },
  {
    // The entry points pass the environment and randomness to everything else.
    files: ['src/main.ts', 'src/cli/**/*.ts'],
    rules: { 'no-restricted-properties': ['error', ...timeProperties] },
  },
  {
    files: ['src/clock.ts'],
    rules: {
      'no-restricted-syntax': ['error', ...namedExports, ...honestTypes],
      'no-restricted-properties': ['error', ...randomProperties, ...environmentProperties],
      'no-restricted-globals': 'off',
      'no-restricted-imports': 'off',
    },
  },
  {
    // Scripts of pages: they run in a browser and are not compiled.
    files: ['src/**/*.js'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      sourceType: 'script',
      globals: { document: 'readonly', fetch: 'readonly', setTimeout: 'readonly' },
    },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    // Rows of tables and properties come as arguments.
    rules: {
      'max-params': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', ...namedExports, ...honestTypes, ...sleeps],
      ...withoutTimers(noSleep),
    },
  },
  // Scripts in JavaScript belong to no TypeScript project: only rules without types apply to them.
  { files: ['**/*.js'], extends: [tseslint.configs.disableTypeChecked] },
  {
    files: ['*.js', '.*.js', '*.config.ts', 'scripts/**/*.js', 'bench/programs/*.js'],
    rules: { 'no-restricted-syntax': 'off', 'no-console': 'off' },
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
      },
    },
  },
);
