import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import ts from 'typescript';

/** What one file pulls in. `target` is a path of the tree (`src/clock.ts`), or null for a package. */
export type Import = {
  readonly specifier: string;
  readonly target: string | null;
  /** True for `import type`, `export type` and `import('…').T`: nothing is left of it at run time. */
  readonly typeOnly: boolean;
};

export type Source = {
  /** From the root of the repository, with slashes. */
  readonly path: string;
  readonly text: string;
  readonly syntax: ts.SourceFile;
  /** Every node of it, depth first; comments and the insides of strings are none. */
  readonly nodes: readonly ts.Node[];
  readonly imports: readonly Import[];
};

const root = new URL('../../', import.meta.url);

/** Every TypeScript file below the folders, parsed. */
export function loadSources(folders: readonly string[]): readonly Source[] {
  const paths = folders.flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' })
      .map((path) => posix.join(folder, path.replaceAll('\\', '/')))
      .filter((path) => path.endsWith('.ts')),
  );
  return paths.sort().map((path) => toSource(path, readFileSync(new URL(path, root), 'utf8')));
}

/** A made-up tree, to show that a rule can fail: path → text. */
export function toSources(files: Readonly<Record<string, string>>): readonly Source[] {
  return Object.entries(files).map(([path, text]) => toSource(path, text));
}

function toSource(path: string, text: string): Source {
  const syntax = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
  const nodes = toNodes(syntax);
  return {
    path,
    text,
    syntax,
    nodes,
    imports: nodes.flatMap((node) => toImport(path, node) ?? []),
  };
}

function toNodes(syntax: ts.SourceFile): readonly ts.Node[] {
  const nodes: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    nodes.push(node);
    ts.forEachChild(node, visit);
  };
  ts.forEachChild(syntax, visit);
  return nodes;
}

function toImport(path: string, node: ts.Node): Import | null {
  const [from, typeOnly] = toSpecifier(node);
  if (from === undefined || !ts.isStringLiteralLike(from)) return null;
  return { specifier: from.text, target: toTarget(path, from.text), typeOnly };
}

function toSpecifier(node: ts.Node): readonly [from: ts.Node | undefined, typeOnly: boolean] {
  if (ts.isImportDeclaration(node)) {
    return [node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword];
  }
  if (ts.isExportDeclaration(node)) return [node.moduleSpecifier, node.isTypeOnly];
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    return [node.argument.literal, true];
  }
  const isDynamic =
    ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
  return [isDynamic ? node.arguments[0] : undefined, false];
}

function toTarget(path: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  return posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts');
}
