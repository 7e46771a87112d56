import { readFileSync } from 'node:fs';
import ts from 'typescript';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';

const document = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});
export type Manifest = z.infer<typeof document>;

/** As much of kustomize as ours use, and an error for all else. */
const kustomization = z.strictObject({
  apiVersion: z.literal('kustomize.config.k8s.io/v1beta1'),
  kind: z.literal('Kustomization'),
  resources: z.array(z.string()),
  configMapGenerator: z
    .array(
      z.strictObject({
        name: z.string(),
        behavior: z.literal('merge').optional(),
        literals: z.array(z.string().regex(/^[A-Z_]+=/)),
      }),
    )
    .default([]),
});

export type Form = {
  readonly manifests: readonly Manifest[];
  /** The literals of each ConfigMap that is generated, by its name. */
  readonly settings: Readonly<Record<string, Readonly<Record<string, string>>>>;
};

/** What `kubectl kustomize` makes of a folder, but for the hashes in the names of ConfigMaps. */
export function loadForm(folder: URL): Form {
  const { resources, configMapGenerator } = kustomization.parse(
    parse(readFileSync(new URL('kustomization.yaml', folder), 'utf8')),
  );
  const parts = resources.map((path) => {
    const place = new URL(path, folder);
    return path.endsWith('.yaml')
      ? { manifests: readManifests(place), settings: {} }
      : loadForm(new URL(`${path}/`, folder));
  });
  const settings: Record<string, Readonly<Record<string, string>>> = {};
  for (const part of parts) Object.assign(settings, part.settings);
  for (const { name, behavior, literals } of configMapGenerator) {
    if ((behavior === 'merge') !== (settings[name] !== undefined)) {
      throw new Error(
        `${folder.pathname}: ${name} is there already, or is not there to merge with`,
      );
    }
    settings[name] = { ...settings[name], ...Object.fromEntries(literals.map(toPair)) };
  }
  return { manifests: parts.flatMap(({ manifests }) => manifests), settings };
}

export function readManifests(file: URL): Manifest[] {
  return parseAllDocuments(readFileSync(file, 'utf8')).map((each) => {
    if (each.errors.length > 0) throw new Error(`${file.pathname}: ${String(each.errors[0])}`);
    return document.parse(each.toJS());
  });
}

function toPair(literal: string): [string, string] {
  const at = literal.indexOf('=');
  return [literal.slice(0, at), literal.slice(at + 1)];
}

/**
 * What is wrong with manifests, by Kubernetes' own types: fields that it does not know, that are
 * missing, or of another type. kubernetes-types is made from its OpenAPI file; the compiler refuses
 * in a literal what its type has no place for, which a JSON schema of Kubernetes lets pass.
 */
export function toTypeErrors(manifests: readonly Manifest[]): readonly string[] {
  const path = new URL('../manifests.ts', import.meta.url).pathname;
  const text = manifests
    .map((manifest, index) => {
      const module = manifest.apiVersion === 'v1' ? 'core/v1' : manifest.apiVersion;
      const type = `import('kubernetes-types/${module}').${manifest.kind}`;
      return `export const manifest${index}: ${type} = ${JSON.stringify(manifest, null, 1)};`;
    })
    .join('\n');
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const program = ts.createProgram([path], options, {
    ...host,
    fileExists: (name) => name === path || host.fileExists(name),
    getSourceFile: (name, ...rest) =>
      name === path
        ? ts.createSourceFile(name, text, ts.ScriptTarget.ESNext)
        : host.getSourceFile(name, ...rest),
  });
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '));
}
