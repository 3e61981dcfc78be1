// Checks of the packages as they would be published: from tarballs, outside the workspace.
import { execFileSync, spawnSync } from 'node:child_process';
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
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { build as viteBuild } from 'vite';
import { build, root } from '../scripts/run.mjs';
import { workspacePackages } from './dependency-rule.mjs';

/** Bytes after minification and gzip. */
const CORE_LIMIT_BYTES = 25_000;

/** One small export of core must not bring the rest along. Minified, not compressed. */
const ONE_EXPORT_LIMIT_BYTES = 3_000;

/** Data that a package ships beside its code, on purpose. @type {Record<string, string>} */
const shippedData = { '@topk-attention/conformance': 'goldens/' };

/**
 * @typedef {object} Packed
 * @property {string} name
 * @property {string} folder in the workspace
 * @property {string} tarball
 * @property {string[]} files inside the tarball, without the leading `package/`
 * @property {any} manifest as packed
 * @property {string[]} entries import specifiers of its public entry points
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

/**
 * pnpm, from the path when a pnpm script runs this, otherwise through npx.
 *
 * @param {readonly string[]} args
 * @param {string} cwd
 * @returns {string}
 */
function pnpm(args, cwd) {
  const onPath = spawnSync('pnpm', ['--version'], { cwd, encoding: 'utf8' }).stdout?.startsWith('12.');
  const [command, before] = onPath ? ['pnpm', []] : ['npx', ['-y', 'pnpm@12']];
  const result = spawnSync(command, [...before, ...args], { cwd, encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`pnpm ${args.join(' ')} failed\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

/** @type {Packed[] | undefined} */
let packedOnce;
let packingFailed = false;

/** Builds and packs every public package, once. */
function packAll() {
  if (packedOnce) return packedOnce;
  if (packingFailed) throw new Error('nothing to check: packing failed above');
  packingFailed = true;
  if (!build()) throw new Error('the build failed');
  const folder = join(work(), 'tarballs');
  mkdirSync(folder, { recursive: true });
  const packed = workspacePackages(root)
    .filter((each) => !each.manifest.private)
    .map(({ name, folder: source }) => {
      const before = new Set(readdirSync(folder));
      pnpm(['pack', '--pack-destination', folder], source);
      const created = readdirSync(folder).find((file) => !before.has(file));
      if (!created) throw new Error(`pnpm pack made no tarball of ${name}`);
      const tarball = join(folder, created);
      const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8' })
        .split('\n')
        .filter((file) => file !== '' && !file.endsWith('/'))
        .map((file) => file.replace(/^package\//, ''));
      const manifest = JSON.parse(
        execFileSync('tar', ['-xzOf', tarball, 'package/package.json'], { encoding: 'utf8' }),
      );
      const entries = Object.keys(manifest.exports ?? {})
        .filter((key) => !key.endsWith('.json'))
        .map((key) => name + key.slice(1));
      return { name, folder: source, tarball, files, manifest, entries };
    });
  packingFailed = false;
  packedOnce = packed;
  return packed;
}

/**
 * A project outside the workspace that installs the tarballs as a user would.
 *
 * @param {string} name
 * @param {Record<string, string>} [extra]
 * @returns {string}
 */
function consumer(name, extra = {}) {
  const packages = packAll();
  const folder = join(work(), name);
  if (existsSync(folder)) return folder;
  mkdirSync(folder, { recursive: true });
  const tarballs = Object.fromEntries(packages.map((each) => [each.name, `file:${each.tarball}`]));
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

/** @returns {Record<string, string>} the versions this workspace tests with */
function peersAndTypes() {
  const catalog = readFileSync(join(root, 'pnpm-workspace.yaml'), 'utf8');
  const version = (/** @type {string} */ name) =>
    new RegExp(`^ {2}['"]?${name}['"]?: (\\S+)$`, 'm').exec(catalog)?.[1] ?? 'latest';
  return {
    '@types/node': version('@types/node'),
    'onnxruntime-node': version('onnxruntime-node'),
    'onnxruntime-common': version('onnxruntime-common'),
    '@tensorflow/tfjs-core': version('@tensorflow/tfjs-core'),
    '@tensorflow/tfjs-layers': version('@tensorflow/tfjs-layers'),
  };
}

/** Tarballs hold dist, README, LICENSE, package.json and data named above, nothing stale and no script that runs on install. */
export function contents() {
  const problems = [];
  for (const { name, folder, files, manifest } of packAll()) {
    for (const needed of ['LICENSE', 'README.md', 'package.json']) {
      if (!files.includes(needed)) problems.push(`${name}: ${needed} is missing`);
    }
    const stale = [];
    for (const file of files) {
      if (['LICENSE', 'README.md', 'package.json'].includes(file)) continue;
      const data = shippedData[name];
      if (data !== undefined && file.startsWith(data)) continue;
      if (!file.startsWith('dist/')) problems.push(`${name}: ${file} does not belong in the package`);
      const source = file.replace(/^dist/, 'src').replace(/(\.d\.ts|\.js)(\.map)?$/, '.ts');
      if (/\.(js|ts|map)$/.test(file) && !existsSync(join(folder, source))) {
        stale.push(file);
      }
    }
    if (stale.length > 0) {
      problems.push(
        `${name}: ${stale.length} built files have no source any more (${stale[0]}, ...); run \`pnpm clean\``,
      );
    }
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare']) {
      if (manifest.scripts?.[script]) problems.push(`${name}: has a ${script} script`);
    }
    const text = JSON.stringify({ ...manifest, scripts: {} });
    for (const leak of ['workspace:', 'catalog:', '@topk-attention/source', './src/']) {
      if (text.includes(leak)) problems.push(`${name}: the packed package.json still says '${leak}'`);
    }
  }
  return problems;
}

/** publint on each tarball, warnings included. */
export async function publintEach() {
  const problems = [];
  for (const { name, tarball, manifest } of packAll()) {
    const bytes = readFileSync(tarball);
    const { messages } = await publint({
      pack: { tarball: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) },
      level: 'warning',
      strict: true,
    });
    for (const message of messages)
      problems.push(`${name}: ${formatMessage(message, manifest, { color: false })}`);
  }
  return problems;
}

/**
 * Type-checks imports of every entry point in a project of its own.
 *
 * @param {string} name
 * @param {object} compilerOptions
 */
function typesResolve(name, compilerOptions) {
  const folder = consumer('with-peers', peersAndTypes());
  const entries = packAll().flatMap((each) => each.entries);
  const lines = entries.flatMap((entry, i) => [
    `import * as entry${i} from '${entry}';`,
    // An entry that resolved to \`any\` would type-check silently.
    `export const notAny${i}: 0 extends 1 & typeof entry${i} ? never : true = true;`,
    `export const entries${i}: number = Object.keys(entry${i}).length;`,
  ]);
  writeFileSync(join(folder, `${name}.ts`), `${lines.join('\n')}\n`);
  const config = {
    compilerOptions: {
      target: 'es2022',
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      ...compilerOptions,
    },
    files: [`${name}.ts`],
  };
  writeFileSync(join(folder, `tsconfig.${name}.json`), JSON.stringify(config));
  const tsc = join(root, 'node_modules', '.bin', 'tsc');
  const result = spawnSync(tsc, ['-p', `tsconfig.${name}.json`, '--pretty', 'false'], {
    cwd: folder,
    encoding: 'utf8',
  });
  // Errors inside other people's declarations are not ours to mend.
  const lead = /^(?!\s)(\S.*?)\(\d+,\d+\): error/;
  const ours = result.stdout.split('\n').filter((line) => {
    const file = lead.exec(line)?.[1];
    if (file === undefined) return line.startsWith('error');
    return !file.includes('node_modules') || file.includes('@topk-attention');
  });
  return ours;
}

export function typesInNode() {
  return typesResolve('node', { module: 'nodenext', lib: ['es2022'], types: ['node'] });
}

export function typesWithBundler() {
  return typesResolve('bundler', {
    module: 'esnext',
    moduleResolution: 'bundler',
    lib: ['es2022', 'dom', 'dom.iterable'],
    types: [],
  });
}

/** Every entry loads in Node without engines installed, prints nothing, and lets the process end. */
export function importsRun() {
  const folder = consumer('without-peers');
  const problems = [];
  for (const { entries } of packAll()) {
    for (const entry of entries) {
      const code = `import * as entry from '${entry}'; if (Object.keys(entry).length === 0) process.exitCode = 3;`;
      const result = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 20_000,
      });
      if (result.error) problems.push(`${entry}: does not let the process end (${result.error.message})`);
      else if (result.status === 3) problems.push(`${entry}: exports nothing`);
      else if (result.status !== 0) problems.push(`${entry}: exit ${result.status}\n${result.stderr}`);
      else if (result.stderr || result.stdout)
        problems.push(`${entry}: prints\n${result.stdout}${result.stderr}`);
    }
  }
  return problems;
}

/**
 * Bundles a module for the browser and gives the minified code, with its modules, the largest first.
 *
 * @param {string} folder
 * @param {string} name
 * @param {string} code
 * @returns {Promise<{ code: string, modules: string[] }>}
 */
async function bundle(folder, name, code) {
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

/** Every entry goes through a bundler for the browser. */
export async function bundlerBuilds() {
  const folder = consumer('without-peers');
  const problems = [];
  for (const { entries } of packAll()) {
    for (const entry of entries) {
      const file = entry.replaceAll(/[@/]/g, '-');
      try {
        const { code } = await bundle(folder, `bundle${file}`, `export * from '${entry}';\n`);
        if (code.trim() === '') problems.push(`${entry}: the bundle is empty`);
      } catch (error) {
        problems.push(`${entry}: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
  return problems;
}

/** Importing one named export of core brings that export, not core. */
export async function treeShaking() {
  const folder = consumer('without-peers');
  const length = async (/** @type {string} */ name, /** @type {string} */ source) =>
    (await bundle(folder, name, source)).code.trim().length;
  const all = await length('all-of-core', `export * from '@topk-attention/core';\n`);
  const one = await length('one-of-core', `export { TopKError } from '@topk-attention/core';\n`);
  const none = await length('none-of-core', `import '@topk-attention/core';\n`);
  const problems = [];
  if (one === 0) problems.push('core exports no TopKError');
  if (one > ONE_EXPORT_LIMIT_BYTES)
    problems.push(`TopKError alone is ${one} bytes minified; all of core is ${all}`);
  if (none > 0) problems.push(`an import of core for nothing still brings ${none} bytes`);
  return problems.length > 0 ? problems : note(`TopKError ${one} of ${all} bytes`);
}

/** Core's main entry, bundled, minified and compressed. */
export async function size() {
  const folder = consumer('without-peers');
  const { code, modules } = await bundle(folder, 'core-size', `export * from '@topk-attention/core';\n`);
  const bytes = gzipSync(code, { level: 9 }).length;
  const figure = `core's main entry: ${bytes} of ${CORE_LIMIT_BYTES} bytes, minified and gzipped`;
  return bytes > CORE_LIMIT_BYTES ? [figure, ...modules.slice(0, 10)] : note(figure);
}

/**
 * No problem, and something to show.
 *
 * @param {string} text
 * @returns {{ note: string }}
 */
function note(text) {
  return { note: text };
}
