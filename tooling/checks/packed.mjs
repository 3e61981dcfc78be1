// Checks of the packages as they would be published: from tarballs, outside the workspace.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { gzipSync } from 'node:zlib';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { relativeLinks } from '../scripts/address.mjs';
import { root, toolCommand } from '../scripts/run.mjs';
import { bundle, consumer, packages } from './consumer.mjs';

/** Bytes after minification and gzip. Of these, some 1,800 are Toeplitz products, which mechanisms had before. */
const CORE_LIMIT_BYTES = 47_000;

/** One small export must not bring the rest along. Minified, not compressed. @type {Record<string, [name: string, limitBytes: number][]>} */
const smallExports = {
  '@topk-attention/core': [['TopKError', 3_000]],
  '@topk-attention/webgpu': [['doctor', 10_000]],
  '@topk-attention/tfjs': [['doctor', 16_000]],
  '@topk-attention/tfjs/layers': [['convertModelArtifacts', 16_000]],
};

/** What every manifest must say for itself; the rest is the same in all of them, and `pnpm sync` writes it. */
const described = ['description', 'keywords', 'sideEffects'];

/** Data that a package ships beside its code, on purpose. @type {Record<string, string>} */
const shippedData = {
  '@topk-attention/conformance': 'goldens/',
  '@topk-attention/nn': 'python/',
};

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

/**
 * Tarballs hold dist, README, LICENSE, package.json and the data named above, nothing stale and no script that runs
 * on install.
 */
export function contents() {
  const problems = [];
  for (const { name, source, content, files, manifest } of packages()) {
    for (const needed of ['LICENSE', 'README.md', 'package.json']) {
      if (!files.includes(needed)) problems.push(`${name}: ${needed} is missing`);
    }
    const stale = [];
    for (const file of files) {
      if (['LICENSE', 'README.md', 'package.json'].includes(file)) continue;
      const data = shippedData[name];
      if (data !== undefined && file.startsWith(data)) continue;
      if (!file.startsWith('dist/')) problems.push(`${name}: ${file} does not belong in the package`);
      const origin = file.replace(/^dist/, 'src').replace(/(\.d\.ts|\.js|\.js\.map)$/, '.ts');
      if (/\.(js|ts|map)$/.test(file) && !existsSync(join(source, origin))) stale.push(file);
    }
    if (stale.length > 0) {
      problems.push(
        `${name}: ${stale.length} built files have no source any more (${stale[0]}, ...); run \`pnpm clean\``,
      );
    }
    problems.push(...mapProblems(name, content, files));
    for (const needed of [...described, 'license', 'author', 'homepage', 'repository', 'bugs', 'engines']) {
      if (manifest[needed] === undefined) problems.push(`${name}: package.json has no ${needed}`);
    }
    for (const link of relativeLinks(readFileSync(join(content, 'README.md'), 'utf8')))
      problems.push(`${name}: the packed README links to ${link}, which is not in the package`);
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

/**
 * A source map is useful only with its sources inside: none are packed beside it.
 *
 * @param {string} name
 * @param {string} content
 * @param {string[]} files
 */
function mapProblems(name, content, files) {
  const without = files.filter((file) => {
    if (!file.endsWith('.map')) return false;
    const { sources, sourcesContent } = JSON.parse(readFileSync(join(content, file), 'utf8'));
    return sources.some((/** @type {string} */ _, /** @type {number} */ i) => !sourcesContent?.[i]);
  });
  const dangling = files.filter((file) => {
    if (!/\.(js|ts)$/.test(file)) return false;
    const [, map] = /^\/\/# sourceMappingURL=(.+)$/m.exec(readFileSync(join(content, file), 'utf8')) ?? [];
    return map !== undefined && !files.includes(posix.join(posix.dirname(file), map));
  });
  return [
    ...without.slice(0, 1).map((file) => `${name}: ${without.length} maps lack their sources (${file}, ...)`),
    ...dangling
      .slice(0, 1)
      .map((file) => `${name}: ${dangling.length} files name a missing map (${file}, ...)`),
  ];
}

/** publint on each tarball, warnings included. */
export async function publintEach() {
  const problems = [];
  for (const { name, tarball, manifest } of packages()) {
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
 * Type-checks imports of every entry point in a separate project.
 *
 * @param {string} name
 * @param {object} compilerOptions
 */
function typesResolve(name, compilerOptions) {
  const folder = consumer('with-peers', peersAndTypes());
  const entries = packages().flatMap((each) => each.entries);
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
  const [node, tsc] = toolCommand('tsc', ['-p', `tsconfig.${name}.json`, '--pretty', 'false']);
  const result = spawnSync(node, tsc, { cwd: folder, encoding: 'utf8' });
  // Errors inside other people's declarations are not ours to fix.
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
  for (const { entries } of packages()) {
    for (const entry of entries) {
      const code = `import * as entry from '${entry}'; if (Object.keys(entry).length === 0) process.exitCode = 3;`;
      const result = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 120_000,
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

/** Every entry goes through a bundler for the browser. */
export async function bundlerBuilds() {
  const folder = consumer('without-peers');
  const problems = [];
  for (const { entries } of packages()) {
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

/** Importing one small named export brings that export, not its package; an import for nothing brings nothing. */
export async function treeShaking() {
  const folder = consumer('without-peers');
  const length = async (/** @type {string} */ name, /** @type {string} */ source) =>
    (await bundle(folder, name, source)).code.trim().length;
  const problems = [];
  const figures = [];
  for (const [entry, exports] of Object.entries(smallExports)) {
    const short = entry.split('/').at(-1);
    const all = await length(`all-of-${short}`, `export * from '${entry}';\n`);
    const none = await length(`none-of-${short}`, `import '${entry}';\n`);
    if (none > 0) problems.push(`an import of ${short} that is never used still adds ${none} bytes`);
    for (const [name, limit] of exports) {
      const one = await length(`${name}-of-${short}`, `export { ${name} } from '${entry}';\n`);
      const figure = `${name} ${one} of ${all} bytes of ${short}`;
      if (one === 0) problems.push(`${short} exports no ${name}`);
      else if (one > limit) problems.push(`${figure}, more than ${limit}`);
      figures.push(figure);
    }
  }
  return problems.length > 0 ? problems : note(figures.join(', '));
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
