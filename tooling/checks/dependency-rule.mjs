// The dependency rule of the repository: who may import whom. Run alone: `node tooling/checks/dependency-rule.mjs`.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseSync } from 'vite';

const SCOPE = '@topk-attention/';

/** The private package that apps share. Its `src/node` runs in Node only; the rest runs wherever a page does. */
const APP_KIT = 'app-kit';

/**
 * Workspace packages that `src/` of a package may import. A backend (`packages/backend-*`) may import core. Private packages,
 * apps and examples may import every package; nothing imports an app or an example, and no published package a private
 * one.
 *
 * @type {Record<string, readonly string[]>}
 */
const allowed = {
  core: [],
  conformance: ['core'],
  nn: ['core'],
  mechanisms: ['core', 'nn'],
  models: ['core', 'nn'],
};

/** Engines are peers: their types may be imported, their code only through `import()`, when it is needed. */
const engines = [/^webgpu$/, /^onnxruntime-(node|web)(\/|$)/, /^@tensorflow\//];

/**
 * @typedef {object} Import
 * @property {string} specifier
 * @property {'value' | 'type' | 'dynamic'} kind
 * @property {number} line
 */

/**
 * Every module that a TypeScript file names: static, type-only, `import()` and `import('x').Type`.
 *
 * @param {string} file
 * @param {string} code
 * @returns {Import[]}
 */
export function importsOf(file, code) {
  const { module, program, errors } = parseSync(file, code, { lang: file.endsWith('x') ? 'tsx' : 'ts' });
  if (errors.length > 0) throw new Error(`${file} does not parse: ${errors[0]?.message}`);
  const lineAt = (/** @type {number} */ offset) => code.slice(0, offset).split('\n').length;
  /** @type {Import[]} */
  const found = [];
  for (const { start, end, moduleRequest } of module.staticImports) {
    // `import { type X } from` keeps the import at run time (verbatimModuleSyntax); `import type` does not.
    const kind = /^import\s+type\b/.test(code.slice(start, end)) ? 'type' : 'value';
    found.push({ specifier: moduleRequest.value, kind, line: lineAt(start) });
  }
  for (const { start, end, entries } of module.staticExports) {
    const source = entries.find((entry) => entry.moduleRequest)?.moduleRequest;
    if (!source) continue;
    const kind = /^export\s+type\b/.test(code.slice(start, end)) ? 'type' : 'value';
    found.push({ specifier: source.value, kind, line: lineAt(start) });
  }
  for (const { start, moduleRequest } of module.dynamicImports) {
    const text = code.slice(moduleRequest.start, moduleRequest.end);
    const literal = /^(['"`])([^'"`$]*)\1$/.exec(text);
    if (literal?.[2] !== undefined)
      found.push({ specifier: literal[2], kind: 'dynamic', line: lineAt(start) });
  }
  walk(program, (node) => {
    const source = node.type === 'TSImportType' ? (node.source ?? node.argument?.literal) : undefined;
    if (typeof source?.value === 'string') {
      found.push({ specifier: source.value, kind: 'type', line: lineAt(node.start) });
    }
  });
  return found;
}

/**
 * @param {any} node
 * @param {(node: any) => void} visit
 */
function walk(node, visit) {
  if (node === null || typeof node !== 'object') return;
  if (typeof node.type === 'string') visit(node);
  for (const value of Object.values(node)) {
    if (Array.isArray(value)) for (const item of value) walk(item, visit);
    else walk(value, visit);
  }
}

/**
 * TypeScript files of a folder and the folders in it.
 *
 * @param {string} folder
 * @returns {string[]}
 */
export function sourceFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.[mc]?tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/**
 * @typedef {{ name: string, short: string, folder: string, app: boolean, manifest: any }} WorkspacePackage
 * @param {string} root
 * @returns {WorkspacePackage[]}
 */
export function workspacePackages(root) {
  return ['packages', 'apps', 'examples'].flatMap((group) => {
    const parent = join(root, group);
    if (!existsSync(parent)) return [];
    return readdirSync(parent)
      .map((name) => join(parent, name))
      .filter((folder) => existsSync(join(folder, 'package.json')))
      .map((folder) => {
        const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
        return {
          name: manifest.name,
          short: manifest.name.slice(SCOPE.length),
          folder,
          app: group !== 'packages',
          manifest,
        };
      });
  });
}

/**
 * Breaches of the dependency rule, in words. Empty when there is none.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function dependencyRuleBreaches(root) {
  const packages = workspacePackages(root);
  const appNames = new Set(packages.filter((each) => each.app).map((each) => each.name));
  /** @type {string[]} */
  const breaches = [];
  for (const own of packages) {
    const mayImport = permitted(own, packages);
    if (mayImport === undefined) {
      breaches.push(
        `${relative(root, own.folder)}: no rule for this package; add it to tooling/checks/dependency-rule.mjs`,
      );
      continue;
    }
    const runtime = { ...own.manifest.dependencies, ...own.manifest.peerDependencies };
    for (const name of Object.keys(runtime)) {
      if (name.startsWith(SCOPE) && !mayImport.has(name)) {
        breaches.push(`${relative(root, own.folder)}/package.json: ${own.name} must not depend on ${name}`);
      }
      if (own.short === 'core')
        breaches.push(`packages/core/package.json: core has no dependencies, found ${name}`);
    }
    for (const file of sourceFiles(join(own.folder, 'src'))) {
      for (const found of importsOf(file, readFileSync(file, 'utf8'))) {
        const problem = judge(own, file, found, mayImport, appNames);
        if (problem) breaches.push(`${relative(root, file)}:${found.line}: ${problem}`);
      }
    }
  }
  return breaches;
}

/**
 * @param {WorkspacePackage} own
 * @param {WorkspacePackage[]} packages
 * @returns {Set<string> | undefined}
 */
function permitted(own, packages) {
  if (own.app || own.manifest.private) {
    return new Set(packages.filter((each) => !each.app && each !== own).map((each) => each.name));
  }
  if (basename(own.folder).startsWith('backend-')) return new Set([`${SCOPE}core`]);
  const names = Object.hasOwn(allowed, own.short) ? allowed[own.short] : undefined;
  return names && new Set(names.map((name) => SCOPE + name));
}

/**
 * @param {WorkspacePackage} own
 * @param {string} file
 * @param {Import} found
 * @param {Set<string>} mayImport
 * @param {Set<string>} appNames
 * @returns {string | undefined}
 */
function judge(own, file, { specifier, kind }, mayImport, appNames) {
  if (specifier.startsWith('.')) {
    const target = resolve(dirname(file), specifier);
    if (target.startsWith(join(own.folder, 'src') + sep)) return undefined;
    return `'${specifier}' leaves the package's src folder`;
  }
  if (specifier.startsWith(SCOPE)) {
    const name = specifier.split('/').slice(0, 2).join('/');
    if (appNames.has(name)) return `nothing may import the app ${name}`;
    if (name === own.name) return `${name} imports itself by name; use a relative import`;
    return mayImport.has(name) ? undefined : `${own.name} must not import ${name}`;
  }
  const isForPages = own.short === APP_KIT && !file.startsWith(join(own.folder, 'src', 'node') + sep);
  const forNode = own.app || (own.manifest.private === true && !isForPages);
  if (own.short === 'core') return `core imports nothing from outside, found '${specifier}'`;
  if (isBuiltin(specifier)) {
    if (forNode || kind !== 'value') return undefined;
    return `'${specifier}' exists only in Node; load it with import() so that browsers can load this package`;
  }
  if (!forNode && kind === 'value' && engines.some((engine) => engine.test(specifier))) {
    return `the engine '${specifier}' must be an optional peer, loaded with import() or handed in by the user`;
  }
  return undefined;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const breaches = dependencyRuleBreaches(fileURLToPath(new URL('../..', import.meta.url)));
  for (const breach of breaches) console.error(breach);
  process.exitCode = breaches.length > 0 ? 1 : 0;
}
