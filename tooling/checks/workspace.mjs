// What follows from the packages themselves: project references, the exports of published manifests, and what every manifest
// says of the project. `pnpm check workspace` compares, `pnpm sync` writes.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { workspacePackages } from './dependency-rule.mjs';

const SOURCE_CONDITION = '@topk-attention/source';

/** @typedef {import('./dependency-rule.mjs').WorkspacePackage} WorkspacePackage */

/**
 * Files that disagree with the packages, with what they should hold: an object as JSON, or text.
 *
 * @param {string} root
 * @returns {{ file: string, problem: string, wanted: object | string }[]}
 */
export function staleFiles(root) {
  const packages = workspacePackages(root);
  const project = readJson(join(root, 'package.json'));
  return [
    ...staleProjects(root, packages),
    ...staleRelease(root, project),
    ...packages.flatMap((own) => stalePackage(root, own, packages, project)),
  ];
}

/**
 * The release workflow runs in the project's own repository, not in forks.
 *
 * @param {string} root
 * @param {{ repository: string }} project the root's package.json
 */
function staleRelease(root, { repository }) {
  const file = '.github/workflows/release.yml';
  if (!existsSync(join(root, file))) return [];
  const text = readFileSync(join(root, file), 'utf8');
  const slug = new URL(repository).pathname.slice(1);
  const wanted = text.replace(/(github\.repository == )'[^']*'/g, (_, before) => `${before}'${slug}'`);
  return wanted === text ? [] : [{ file, problem: `${file} names another repository`, wanted }];
}

/** The two configurations at the root list every project. @param {string} root @param {WorkspacePackage[]} packages */
function staleProjects(root, packages) {
  const built = packages.filter(({ folder }) => isProject(folder)).map(({ folder }) => toRoot(root, folder));
  const beside = packages.flatMap(({ folder }) =>
    readdirSync(folder, { withFileTypes: true })
      .filter(
        (entry) =>
          entry.isDirectory() && entry.name !== 'node_modules' && isProject(join(folder, entry.name)),
      )
      .map((entry) => toRoot(root, join(folder, entry.name))),
  );
  return [
    // Pages are bundled instead: they are type-checked, and their tests and their bundler run them from source.
    ...staleReferences(
      root,
      'tsconfig.build.json',
      built.filter((path) => !existsSync(join(root, path, 'index.html'))),
    ),
    ...staleReferences(
      root,
      'tooling/tsconfig.json',
      built.filter((path) => path.startsWith('packages/')).map((path) => `../${path}`),
    ),
    ...staleReferences(root, 'tsconfig.json', [...built, ...beside, 'tooling']),
  ];
}

/**
 * @param {string} root
 * @param {WorkspacePackage} own
 * @param {WorkspacePackage[]} packages
 * @param {any} project the root's package.json
 */
function stalePackage(root, own, packages, project) {
  const file = toRoot(root, join(own.folder, 'package.json'));
  const wanted = manifestOf(own.manifest, toRoot(root, own.folder), project);
  const differs = JSON.stringify(wanted) !== JSON.stringify(own.manifest);
  const { dependencies, peerDependencies, devDependencies } = own.manifest;
  const pathsOf = (/** @type {string} */ from, /** @type {object[]} */ ...groups) =>
    packages
      .filter(
        ({ name, folder }) => groups.some((group) => Object.hasOwn(group ?? {}, name)) && isProject(folder),
      )
      .map(({ folder }) => `${toPath(relative(from, root))}/${toRoot(root, folder)}`);
  const tests = join(own.folder, 'test');
  return [
    ...(differs ? [{ file, problem: `${file} does not match the workspace`, wanted }] : []),
    ...(isProject(own.folder)
      ? staleReferences(
          root,
          toRoot(root, join(own.folder, 'tsconfig.json')),
          pathsOf(own.folder, dependencies, peerDependencies),
        )
      : []),
    ...(isProject(tests)
      ? staleReferences(root, toRoot(root, join(tests, 'tsconfig.json')), [
          ...(isProject(own.folder) ? ['..'] : []),
          ...pathsOf(tests, dependencies, peerDependencies, devDependencies),
        ])
      : []),
  ];
}

/**
 * A manifest with the fields that all packages share and, if it is published, with its exports but without the
 * source.
 *
 * @param {any} manifest
 * @param {string} directory with `/`
 * @param {any} project
 */
function manifestOf(manifest, directory, project) {
  const { repository: address, author, license, engines } = project;
  if (manifest.private) return { ...manifest, license, engines };
  const { name, version, description, ...rest } = manifest;
  const exports = Object.entries(manifest.exports ?? {});
  const published = Object.fromEntries(exports.map(([key, target]) => [key, publishedTarget(target)]));
  const place = {
    homepage: `${address}/tree/HEAD/${directory}#readme`,
    repository: { type: 'git', url: `git+${address}.git`, directory },
    bugs: `${address}/issues`,
  };
  // The first spread sets the order, the later ones the values.
  return {
    ...{ name, version, description, license, author, ...place },
    ...rest,
    ...{ license, author, engines, ...place },
    publishConfig: { ...manifest.publishConfig, access: 'public', exports: published },
  };
}

/** @param {any} target of an export */
function publishedTarget(target) {
  if (typeof target !== 'object') return target;
  const { [SOURCE_CONDITION]: _, ...rest } = target;
  return rest;
}

/**
 * Compares as sets: the order of references does not matter.
 *
 * @param {string} root
 * @param {string} file
 * @param {string[]} paths
 */
function staleReferences(root, file, paths) {
  const config = readJson(join(root, file));
  const known = (config.references ?? []).map((/** @type {{ path: string }} */ { path }) => path);
  const kept = known.filter((/** @type {string} */ path) => paths.includes(path));
  const missing = paths.filter((path) => !known.includes(path));
  if (kept.length === known.length && missing.length === 0) return [];
  const references = [...kept, ...missing].map((path) => ({ path }));
  return [
    {
      file,
      problem: `${file} does not list the projects of the workspace`,
      wanted: { ...config, references },
    },
  ];
}

/** @param {string} folder */
const isProject = (folder) => existsSync(join(folder, 'tsconfig.json'));

/** @param {string} path */
const toPath = (path) => path.split(sep).join('/');

/** @param {string} root @param {string} path */
const toRoot = (root, path) => toPath(relative(root, path));

/** @param {string} file */
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/**
 * Packages without a version: changesets reads the version of every package, private ones included.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function withoutVersion(root) {
  const groups = ['packages', 'apps', 'examples', 'tooling'].filter((group) => existsSync(join(root, group)));
  return groups.flatMap((group) =>
    readdirSync(join(root, group))
      .map((name) => join(root, group, name, 'package.json'))
      .filter((file) => existsSync(file) && readJson(file).version === undefined)
      .map((file) => `${toRoot(root, file)} has no version; give it "0.0.0"`),
  );
}

/**
 * Actions in the workflows that are pinned to a tag, which can be moved, and not to a commit.
 *
 * @param {string} root
 * @returns {string[]}
 */
export function looseActions(root) {
  const folder = join(root, '.github', 'workflows');
  return readdirSync(folder).flatMap((name) =>
    Array.from(readFileSync(join(folder, name), 'utf8').matchAll(/\buses:\s*(.+)$/gm))
      .map(([, action = '']) => action.trim())
      .filter((action) => !/^(\.\/\S+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$/.test(action))
      .map(
        (action) =>
          `.github/workflows/${name}: '${action}' must name a commit and its version: owner/name@<40 hex digits> # v1.2.3`,
      ),
  );
}
