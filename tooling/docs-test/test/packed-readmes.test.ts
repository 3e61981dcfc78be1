import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Example, examplesOf, optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability, softwareGpuEnvironment } from '@topk-attention/vitest-preset/software-gpu';
import { transformWithOxc } from 'vite';
import { afterAll, describe, expect } from 'vitest';
import { type Packed, packAll } from '../../scripts/pack.mjs';
import { build, npmCommand } from '../../scripts/run.mjs';

// Every example of a README runs in an npm project with what the README's own install lines install and nothing else, the
// tarballs of this repository in place of the published packages.

const root = new URL('../../../', import.meta.url);
const work = mkdtempSync(join(tmpdir(), 'topk-readmes-'));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const contents = (page: string): string => readFileSync(new URL(page, root), 'utf8');
/** The first block of docs/drop-in.md. */
const [, dropIn = ''] = /^```sh\n(.*?)^```/ms.exec(contents('docs/drop-in.md')) ?? [];
/** READMEs with examples. */
const pages = [
  'README.md',
  ...readdirSync(new URL('packages/', root))
    .sort()
    .filter((name) => existsSync(new URL(`packages/${name}/package.json`, root)) && !isPrivate(name))
    .map((name) => `packages/${name}/README.md`),
].filter((page) => existsSync(new URL(page, root)) && examplesOf(contents(page)).length > 0);

function isPrivate(name: string): boolean {
  return JSON.parse(readFileSync(new URL(`packages/${name}/package.json`, root), 'utf8')).private === true;
}

let packed: readonly Packed[] | undefined;

function tarballs(): readonly Packed[] {
  if (packed === undefined) {
    expect(build(), 'the build').toBe(true);
    const contents = join(work, 'contents');
    mkdirSync(contents);
    packed = packAll(join(work, 'tarballs'), contents);
  }
  return packed;
}

/** The words after `npm install` on every such line. */
function installWords(markdown: string): string[] {
  const lines = markdown.matchAll(/^npm install ([^#\n]+)/gm);
  return [...lines]
    .flatMap(([, words = '']) => words.trim().split(/\s+/))
    .filter((word) => !word.startsWith('-'))
    .map((word) => word.replace(/^\S*\/tarballs\/([\w-]+)\.tgz$/, '@topk-attention/$1'));
}

/** Arguments for npm: our packages as tarballs, together with those of ours that they depend on. */
function withTarballs(words: readonly string[]): string[] {
  const own = new Map(tarballs().map((each) => [each.name, each]));
  const result = new Set<string>();
  const add = (word: string): void => {
    const found = own.get(word);
    if (found === undefined) result.add(word);
    else if (!result.has(found.tarball)) {
      result.add(found.tarball);
      const manifest = JSON.parse(readFileSync(join(found.content, 'package.json'), 'utf8'));
      for (const name of Object.keys(manifest.dependencies ?? {})) if (own.has(name)) add(name);
    }
  };
  for (const word of words) add(word);
  return [...result];
}

interface Installed {
  readonly folder: string;
  /** npm's output, if it failed. */
  readonly problem?: string;
}

let all: Installed | undefined;

/** The packages of all pages, installed together: to unpack the engines for each of them takes most of a minute. */
function everything(): string {
  all ??= install([...pages.map(contents), dropIn].flatMap(installWords));
  expect(all.problem).toBeUndefined();
  return all.folder;
}

function install(words: readonly string[]): Installed {
  const folder = join(work, 'everything');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  const [command, args] = npmCommand('npm', ['install', ...flags, ...withTarballs(words)]);
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
  return status === 0
    ? { folder }
    : { folder, problem: `npm install ${words.join(' ')}\n${stdout}${stderr}` };
}

const projects = new Map<string, string>();

/** A project with these packages and what they depend on, and no others. READMEs with the same install lines share one. */
function project(words: readonly string[]): string {
  const key = [...new Set(words)].sort().join(' ');
  const folder = projects.get(key) ?? join(work, `project-${projects.size}`);
  if (projects.has(key)) return folder;
  const from = everything();
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  copyFileSync(join(from, 'package.json'), join(folder, 'package.json'));
  for (const path of withDependencies(from, words)) linkAll(join(from, path), join(folder, path));
  const bin = join('node_modules', '.bin');
  cpSync(join(from, bin), join(folder, bin), { recursive: true, verbatimSymlinks: true });
  projects.set(key, folder);
  return folder;
}

/** What npm writes of an installed package. */
interface LockedPackage {
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
  readonly peerDependencies?: object;
  readonly peerDependenciesMeta?: { readonly [name: string]: { readonly optional?: boolean } };
}

/** Paths of installed packages and of all that npm installs with them, as it finds them from each. */
function withDependencies(folder: string, names: readonly string[]): ReadonlySet<string> {
  const text = readFileSync(join(folder, 'node_modules', '.package-lock.json'), 'utf8');
  const packages: { readonly [path: string]: LockedPackage } = JSON.parse(text).packages;
  const found = new Set<string>();
  const add = (name: string, from: string): void => {
    const parts = from.split('/node_modules/');
    const places = parts.map((_, at) => [...parts.slice(0, parts.length - at), name].join('/node_modules/'));
    const path = [...places, `node_modules/${name}`].find((place) => place in packages);
    if (path === undefined || found.has(path)) return;
    found.add(path);
    const { dependencies, optionalDependencies, peerDependencies, peerDependenciesMeta } = packages[
      path
    ] as LockedPackage;
    const peers = Object.keys(peerDependencies ?? {}).filter((one) => !peerDependenciesMeta?.[one]?.optional);
    const others = Object.keys({ ...dependencies, ...optionalDependencies });
    for (const one of [...others, ...peers]) add(one, path);
  };
  for (const name of names) add(name, 'node_modules');
  return found;
}

/** The files of a package, without those of packages inside of it. */
function linkAll(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (!entry.isDirectory()) linkSync(source, target);
    else if (entry.name !== 'node_modules') linkAll(source, target);
  }
}

/** Runs an example with plain Node and returns what it wrote to standard output. */
async function run(folder: string, example: Example, env: Readonly<Record<string, string>>): Promise<string> {
  const { code } = await transformWithOxc(example.code, 'example.ts', { lang: 'ts' });
  const file = join(folder, 'example.js');
  writeFileSync(file, code);
  const model = fileURLToPath(new URL('apps/qa-demo/model', root));
  const encoder = fileURLToPath(new URL('tooling/t5-goldens/goldens/encoders/bert', root));
  const stories = fileURLToPath(new URL('tooling/t5-goldens/goldens/stories260K', root));
  const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
    cwd: folder,
    encoding: 'utf8',
    env: {
      ...process.env,
      ...{ T5_FOLDER: model, ENCODER_FOLDER: encoder, LM_FOLDER: stories, NODE_OPTIONS: '', NODE_ENV: '' },
      ...env,
    },
  });
  expect(status, `line ${example.line}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

const gpu = softwareGpuAvailability();

for (const page of pages) {
  const markdown = contents(page);
  const examples = examplesOf(markdown);
  const words = installWords(markdown);
  const availability = words.includes('webgpu') && !gpu.available ? gpu : thoroughAvailability();
  describe(`${page}, packed`, () => {
    for (const example of examples) {
      optional(`line ${example.line}: ${example.heading}`, availability, async () => {
        const printed = await run(project(words), example, softwareGpuEnvironment());
        if (example.prints.length > 0) expect(printed).toBe(`${example.prints.join('\n')}\n`);
      });
    }
    const aboutGpus = examples.filter(({ code }) => /doctor\b.*@topk-attention\/webgpu/.test(code));
    for (const example of aboutGpus) {
      optional(`line ${example.line}: tells what is missing without an adapter`, availability, async () => {
        const nowhere = {
          VK_ICD_FILENAMES: join(work, 'none.json'),
          VK_DRIVER_FILES: join(work, 'none.json'),
        };
        expect(await run(project(words), example, nowhere)).not.toBe('');
      });
    }
  });
}

describe('docs/drop-in.md, packed', () => {
  optional('the commands of its first block, one after the other', thoroughAvailability(), () => {
    const folder = project(installWords(dropIn));
    // It has no table of positions, so it takes every length.
    const model = new URL('tooling/onnx-models/models/modernbert-sdpa-traced-17.onnx', root);
    copyFileSync(model, join(folder, 'model.onnx'));
    const commands = [...dropIn.matchAll(/^npx ([^#\n]+)/gm)].map(([, words = '']) =>
      words.trim().split(/\s+/),
    );
    expect(commands.length).toBeGreaterThan(5);
    const printed = commands.map((words) => {
      const [command, args] = npmCommand('npx', ['--no', ...words]);
      const { status, stdout, stderr } = spawnSync(command, args, { cwd: folder, encoding: 'utf8' });
      expect(status, `${words.join(' ')}\n${stdout}${stderr}`).toBe(0);
      return stdout;
    });
    expect(printed[0]).toContain('2 of 2 attention blocks can be rewritten');
    expect(printed.join('')).toContain('smallest k of these with a cosine of at least 0.99: 8');
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(['exact.onnx', 'top.onnx']));
  });
});
