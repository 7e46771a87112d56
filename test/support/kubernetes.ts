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

/** The part of kustomize that our folders use; anything else is an error. */
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

/** Returns the output of `kubectl kustomize` for a folder, without the hashes in the names of ConfigMaps. */
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
        `${folder.pathname}: ${name} exists already, or does not exist and cannot be merged`,
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
 * Returns the type errors of manifests: unknown fields, missing fields and fields of a wrong type.
 * kubernetes-types is generated from Kubernetes' OpenAPI file. The compiler rejects unknown members
 * of a literal, which a JSON schema of Kubernetes accepts.
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
