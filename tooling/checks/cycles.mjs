// Circular imports, type-only ones too: no file imports itself through others, and no folder of a package's `src` does.
// Files that lie directly in `src` count as rooms of their own. Run alone: `node tooling/checks/cycles.mjs`.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { importsOf, sourceFiles, workspacePackages } from './dependency-rule.mjs';

/**
 * @param {string} root
 * @returns {string[]}
 */
export function cycleBreaches(root) {
  /** @type {string[]} */
  const breaches = [];
  for (const own of workspacePackages(root)) {
    const src = join(own.folder, 'src');
    for (const circle of circlesOf(src)) breaches.push(`${relative(root, src)}: ${circle}`);
  }
  return breaches;
}

/**
 * Cycles among the files and among the folders of a source folder, in words.
 *
 * @param {string} src
 * @returns {string[]}
 */
export function circlesOf(src) {
  /** @type {Map<string, Set<string>>} */
  const files = new Map();
  /** @type {Map<string, Set<string>>} */
  const folders = new Map();
  for (const file of sourceFiles(src)) {
    const from = nameOf(src, file);
    for (const { specifier } of importsOf(file, readFileSync(file, 'utf8'))) {
      if (!specifier.startsWith('.')) continue;
      const target = sourceOf(resolve(dirname(file), specifier));
      if (!target.startsWith(src + sep)) continue;
      const to = nameOf(src, target);
      link(files, from, to);
      if (roomOf(from) !== roomOf(to)) link(folders, roomOf(from), roomOf(to));
    }
  }
  return [
    ...componentsOf(files).map((names) => `files form an import cycle: ${names.join(', ')}`),
    ...componentsOf(folders).map((names) => `folders form an import cycle: ${names.join(', ')}`),
  ];
}

/** @type {(src: string, file: string) => string} */
const nameOf = (src, file) => relative(src, file).split(sep).join('/');

/** @type {(name: string) => string} */
const roomOf = (name) => (name.includes('/') ? name.slice(0, name.lastIndexOf('/')) : name);

/** @type {(path: string) => string} */
function sourceOf(path) {
  const source = path.replace(/\.(m?)js(x?)$/, '.$1ts$2');
  return existsSync(source) ? source : path;
}

/** @type {(graph: Map<string, Set<string>>, from: string, to: string) => void} */
function link(graph, from, to) {
  const targets = graph.get(from) ?? new Set();
  targets.add(to);
  graph.set(from, targets);
}

/**
 * Nodes that reach themselves, grouped with those that they reach and are reached by (Tarjan's strongly connected components).
 *
 * @param {Map<string, Set<string>>} graph
 * @returns {string[][]}
 */
function componentsOf(graph) {
  /** @type {Map<string, number>} */
  const index = new Map();
  /** @type {Map<string, number>} */
  const low = new Map();
  /** @type {string[]} */
  const stack = [];
  /** @type {string[][]} */
  const found = [];
  const visit = (/** @type {string} */ node) => {
    index.set(node, index.size);
    low.set(node, index.get(node) ?? 0);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!index.has(next)) {
        visit(next);
        low.set(node, Math.min(low.get(node) ?? 0, low.get(next) ?? 0));
      } else if (stack.includes(next)) {
        low.set(node, Math.min(low.get(node) ?? 0, index.get(next) ?? 0));
      }
    }
    if (low.get(node) !== index.get(node)) return;
    const component = stack.splice(stack.indexOf(node));
    if (component.length > 1 || graph.get(node)?.has(node)) found.push(component.sort());
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return found.sort((a, b) => a.join().localeCompare(b.join()));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const breaches = cycleBreaches(fileURLToPath(new URL('../..', import.meta.url)));
  for (const breach of breaches) console.error(breach);
  process.exitCode = breaches.length > 0 ? 1 : 0;
}
