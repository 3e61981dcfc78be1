// The packages as they would be published, and projects outside the workspace that use them.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { build as viteBuild } from 'vite';
import { packAll, pnpm } from '../scripts/pack.mjs';
import { build } from '../scripts/run.mjs';

/**
 * `files` inside the tarball, `manifest` as packed, `entries`: import specifiers of its public entry points.
 *
 * @typedef {import('../scripts/pack.mjs').Packed & { files: string[], manifest: any, entries: string[] }} Packed
 */

/** @type {string | undefined} */
let workFolder;

/** A folder outside the workspace, removed at the end of the process. */
function work() {
  if (workFolder === undefined) {
    const created = realpathSync(mkdtempSync(join(tmpdir(), 'topk-packed-')));
    workFolder = created;
    process.on('exit', () => rmSync(created, { recursive: true, force: true }));
  }
  return workFolder;
}

/** @type {Packed[] | undefined} */
let packedOnce;
let packingFailed = false;

/** Builds and packs every public package, once. */
export function packages() {
  if (packedOnce) return packedOnce;
  if (packingFailed) throw new Error('nothing to check: packing failed above');
  packingFailed = true;
  if (!build()) throw new Error('the build failed');
  const contents = join(work(), 'contents');
  mkdirSync(contents);
  packedOnce = packAll(join(work(), 'tarballs'), contents).map((each) => {
    const files = readdirSync(each.content, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) =>
        relative(each.content, join(entry.parentPath ?? entry.path, entry.name))
          .split(sep)
          .join('/'),
      );
    const manifest = JSON.parse(readFileSync(join(each.content, 'package.json'), 'utf8'));
    const entries = Object.keys(manifest.exports ?? {})
      .filter((key) => !key.endsWith('.json'))
      .map((key) => each.name + key.slice(1));
    return { ...each, files, manifest, entries };
  });
  packingFailed = false;
  return packedOnce;
}

/**
 * A project outside the workspace that installs the tarballs as a user would.
 *
 * @param {string} name
 * @param {Record<string, string>} [extra]
 * @returns {string}
 */
export function consumer(name, extra = {}) {
  const folder = join(work(), name);
  if (existsSync(folder)) return folder;
  mkdirSync(folder, { recursive: true });
  const tarballs = Object.fromEntries(packages().map((each) => [each.name, `file:${each.tarball}`]));
  const manifest = { name, private: true, type: 'module', dependencies: { ...tarballs, ...extra } };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2));
  const lines = [
    'packages: []',
    'pmOnFail: ignore',
    'autoInstallPeers: false',
    'overrides:',
    ...Object.entries(tarballs).map(([key, value]) => `  '${key}': '${value}'`),
    // Engines are the user's own; none of ours may need a build script.
    'allowBuilds:',
    '  onnxruntime-node: false',
    '  core-js: false',
    '',
  ];
  writeFileSync(join(folder, 'pnpm-workspace.yaml'), lines.join('\n'));
  pnpm(['install', '--prefer-offline', '--no-frozen-lockfile'], folder);
  return folder;
}

/**
 * Bundles a module for the browser and returns the minified code and its modules, the largest first.
 *
 * @param {string} folder
 * @param {string} name
 * @param {string} code
 * @returns {Promise<{ code: string, modules: string[] }>}
 */
export async function bundle(folder, name, code) {
  const entry = join(folder, `${name}.js`);
  writeFileSync(entry, code);
  const result = await viteBuild({
    root: folder,
    configFile: false,
    logLevel: 'error',
    build: {
      write: false,
      minify: true,
      target: 'es2022',
      modulePreload: false,
      // Not library mode, which keeps the white space of ES modules.
      rolldownOptions: {
        input: entry,
        preserveEntrySignatures: 'strict',
        // Engines and Node's own modules are reached through import() only; what is left of them is the caller's.
        external: [/^node:/, /^onnxruntime-/, /^webgpu$/, /^@tensorflow\//],
      },
    },
  });
  const outputs = Array.isArray(result) ? result : [result];
  const chunks = outputs
    .flatMap((each) => ('output' in each ? each.output : []))
    .filter((each) => each.type === 'chunk');
  const modules = chunks
    .flatMap((chunk) => Object.entries(chunk.modules))
    .sort(([, a], [, b]) => b.renderedLength - a.renderedLength)
    .map(
      ([id, { renderedLength }]) =>
        `${id.split('/node_modules/').at(-1)} (${renderedLength} before minification)`,
    );
  return { code: chunks.map((chunk) => chunk.code).join('\n'), modules };
}
