// `pnpm tarballs [FOLDER]`: builds every public package and packs it as it would be published, by default into `tarballs/`.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { workspacePackages } from '../checks/dependency-rule.mjs';
import { publishedReadme } from './address.mjs';
import { buildOrExit, npmCommand, root } from './run.mjs';

/**
 * @param {[command: string, args: string[]]} commandLine
 * @param {string} cwd
 */
function runOrThrow([command, args], cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed\n${stdout}${stderr}`);
}

/**
 * pnpm, from the path when a pnpm script runs this, otherwise through npx.
 *
 * @param {readonly string[]} args
 * @param {string} cwd
 */
export function pnpm(args, cwd) {
  const onPath = spawnSync('pnpm', ['--version'], { cwd, encoding: 'utf8' }).stdout?.startsWith('12.');
  runOrThrow(onPath ? ['pnpm', [...args]] : npmCommand('npx', ['-y', 'pnpm@12', ...args]), cwd);
}

/**
 * @typedef {object} Packed
 * @property {string} name
 * @property {string} source folder in the workspace
 * @property {string} tarball `core.tgz` and so on
 * @property {string} content folder with what is in the tarball
 */

/**
 * Packs what is built. pnpm replaces the ranges of the workspace; links of the READMEs are made absolute after that.
 *
 * @param {string} folder for the tarballs, made where it is missing
 * @param {string} work an empty folder for their contents
 * @returns {Packed[]}
 */
export function packAll(folder, work) {
  const address = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).repository;
  const published = workspacePackages(root).filter((each) => !each.manifest.private);
  pnpm([...published.flatMap(({ name }) => ['--filter', name]), 'pack', '--pack-destination', work], root);
  const packed = published.map(({ name, short, folder: source, manifest }) => {
    const file = `${name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`;
    const place = join(work, short);
    mkdirSync(place);
    runOrThrow(['tar', ['-xzf', join('..', file)]], place);
    const content = join(place, 'package');
    const directory = relative(root, source).split(sep).join('/');
    const readme = join(content, 'README.md');
    writeFileSync(readme, publishedReadme(readFileSync(readme, 'utf8'), directory, address));
    return { name, source, content, file, tarball: join(folder, `${short}.tgz`) };
  });
  runOrThrow(npmCommand('npm', ['pack', '--ignore-scripts', ...packed.map(({ content }) => content)]), work);
  mkdirSync(folder, { recursive: true });
  for (const { file, tarball } of packed) copyFileSync(join(work, file), tarball);
  return packed;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  buildOrExit();
  const work = mkdtempSync(join(tmpdir(), 'topk-pack-'));
  try {
    // INIT_CWD is where the user called pnpm.
    const folder = resolve(process.env.INIT_CWD ?? process.cwd(), process.argv[2] ?? join(root, 'tarballs'));
    for (const { name, tarball } of packAll(folder, work)) console.log(`${name}: ${tarball}`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
