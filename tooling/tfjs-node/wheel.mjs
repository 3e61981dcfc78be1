// Gets one pinned wheel onto this machine: from a folder or index on disk, from pip's index, from PyPI, or by pip.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BuildFailure } from './failure.mjs';
import { pipSources } from './pip-config.mjs';

/** @typedef {{ project: string, version: string, file: string, sha256: string }} Wheel */

/** How long a server may send nothing before it is given up. */
const SILENCE_MS = 30_000;

/**
 * @param {string} file
 * @returns {Promise<string>}
 */
export async function sha256Of(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return hash.digest('hex');
}

/**
 * The address of `file` in a page of links, without its checksum.
 *
 * @param {string} html
 * @param {string} base address of the page
 * @param {string} file
 * @returns {string | undefined}
 */
export function linkIn(html, base, file) {
  for (const [, href] of html.matchAll(/<a\b[^>]*\bhref\s*=\s*["']([^"']+)["']/gi)) {
    const url = new URL((href ?? '').replaceAll('&amp;', '&'), base);
    url.hash = '';
    if (decodeURIComponent(url.pathname.split('/').at(-1) ?? '') === file) return url.href;
  }
  return undefined;
}

/**
 * fetch() refuses a name and password inside an address, which is how indexes that need a login are configured.
 *
 * @param {string} address
 * @param {RequestInit} [init]
 */
function get(address, init = {}) {
  const url = new URL(address);
  const headers = new Headers(init.headers);
  if (url.username !== '') {
    const login = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    headers.set('authorization', `Basic ${Buffer.from(login).toString('base64')}`);
    url.username = '';
    url.password = '';
  }
  return fetch(url, { ...init, headers });
}

/** @param {unknown} error */
function reason(error) {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? cause.message : error instanceof Error ? error.message : String(error);
}

/** An address that may be shown: without a password. @param {string} address */
const shown = (address) => address.replace(/\/\/[^/@]*@/, '//');

/**
 * Where a page or folder has the wheel.
 *
 * @param {string} address of an index's project page, or of a folder or page with links
 * @param {string} file
 * @returns {Promise<string | undefined>}
 */
async function find(address, file) {
  if (address.startsWith('file:')) {
    const path = fileURLToPath(address);
    if (!existsSync(path)) return undefined;
    if (!statSync(path).isDirectory()) return linkIn(readFileSync(path, 'utf8'), address, file);
    if (readdirSync(path).includes(file)) return new URL(file, `${address.replace(/\/*$/, '')}/`).href;
    const page = join(path, 'index.html');
    if (!existsSync(page)) return undefined;
    return linkIn(readFileSync(page, 'utf8'), `${address.replace(/\/*$/, '')}/index.html`, file);
  }
  const response = await get(address, {
    headers: { accept: 'text/html' },
    signal: AbortSignal.timeout(SILENCE_MS),
  });
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`status ${response.status}`);
  // A login in the address belongs to the files too, where they are on the same server.
  const page = new URL(response.url);
  const asked = new URL(address);
  if (page.origin === asked.origin)
    Object.assign(page, { username: asked.username, password: asked.password });
  return linkIn(await response.text(), page.href, file);
}

/**
 * Downloads a file, resuming an earlier download that broke off.
 *
 * @param {string} address
 * @param {string} target
 * @param {(done: number, total: number) => void} [progress]
 */
export async function download(address, target, progress = () => {}) {
  const part = `${target}.part`;
  const have = existsSync(part) ? statSync(part).size : 0;
  const stop = new AbortController();
  const silence = setTimeout(() => stop.abort(new Error('no data for 30 s')), SILENCE_MS);
  try {
    const range = have > 0 ? { range: `bytes=${have}-` } : undefined;
    const response = await get(address, {
      headers: { 'accept-encoding': 'identity', ...range },
      signal: stop.signal,
    });
    // Nothing is left to send, or the part belongs to another file; the checksum tells.
    if (response.status === 416) return renameSync(part, target);
    if (!response.ok || !response.body) throw new Error(`status ${response.status}`);
    // A server without ranges sends the whole file again.
    const resumed = response.status === 206;
    let done = resumed ? have : 0;
    const total = done + Number(response.headers.get('content-length') ?? 0);
    const file = await open(part, resumed ? 'a' : 'w');
    try {
      for await (const chunk of response.body) {
        silence.refresh();
        await file.writeFile(chunk);
        done += chunk.length;
        progress(done, total);
      }
    } finally {
      await file.close();
    }
    renameSync(part, target);
  } finally {
    clearTimeout(silence);
  }
}

/**
 * Downloads through pip, which knows proxies and keyrings. Undefined if there is no pip or it fails.
 *
 * @param {Wheel} wheel
 * @param {string} folder
 * @returns {string | undefined}
 */
function byPip({ project, version, file }, folder) {
  const args = ['-m', 'pip', 'download', '--quiet', '--no-deps', '--dest', folder, '--only-binary', ':all:'];
  const [, , python = '', abi = '', platform = ''] = basename(file, '.whl').split('-');
  const target = ['--python-version', python.slice(2), '--abi', abi, '--platform', platform];
  for (const command of ['python3', 'python']) {
    const { status } = spawnSync(command, [...args, ...target, `${project}==${version}`], {
      stdio: 'inherit',
    });
    if (status === 0 && existsSync(join(folder, file))) return join(folder, file);
  }
  return undefined;
}

/**
 * Downloads the wheel. Tries up to three times if the connection breaks, or if the rest of an earlier download turns
 * out to belong to another file.
 *
 * @param {string} address
 * @param {string} target
 * @param {Wheel} wheel
 * @param {(line: string) => void} log
 */
async function downloadChecked(address, target, wheel, log) {
  log(`downloading ${shown(address)}`);
  let next = 1;
  /** @param {number} done @param {number} total */
  const progress = (done, total) => {
    if (total === 0 || done / total < next / 10) return;
    log(`${Math.floor((100 * done) / total)} % of ${Math.round(total / 1e6)} MB`);
    next = Math.floor((10 * done) / total) + 1;
  };
  for (let attempt = 1; ; attempt++) {
    const resuming = existsSync(`${target}.part`);
    try {
      await download(address, target, progress);
      const got = await sha256Of(target);
      if (got === wheel.sha256) return;
      rmSync(target);
      throw new WrongChecksum(got, wheel);
    } catch (error) {
      if (attempt === 3 || (error instanceof WrongChecksum && !resuming)) throw error;
      log(`${reason(error)}; trying again`);
    }
  }
}

class WrongChecksum extends Error {
  /** @param {string} got @param {Wheel} wheel */
  constructor(got, wheel) {
    super(`sha256 ${got} instead of ${wheel.sha256}`);
  }
}

/**
 * The path of the wheel on this machine, its checksum verified: an existing file, or a download into `folder`.
 *
 * @param {Wheel} wheel
 * @param {string} folder
 * @param {{ log?: (line: string) => void, sources?: import('./pip-config.mjs').PipSources, pip?: boolean }} [options]
 * @returns {Promise<string>}
 */
export async function getWheel(wheel, folder, { log = () => {}, sources = pipSources(), pip = true } = {}) {
  const target = join(folder, wheel.file);
  if (existsSync(target) && (await sha256Of(target)) === wheel.sha256) return target;
  const places = [
    ...sources.links,
    ...sources.indexes.map((index) => `${index.replace(/\/*$/, '')}/${wheel.project}/`),
  ];
  // What is on disk first: an unreachable server costs up to half a minute.
  places.sort((a, b) => Number(b.startsWith('file:')) - Number(a.startsWith('file:')));
  /** @type {string[]} */
  const tried = [];
  let corrupt = false;
  for (const place of places) {
    try {
      const address = await find(place, wheel.file);
      if (address === undefined) tried.push(`${shown(place)}: has no ${wheel.file}`);
      else if (address.startsWith('file:')) {
        const file = fileURLToPath(address);
        log(`found ${file}`);
        const got = await sha256Of(file);
        if (got === wheel.sha256) return file;
        throw new WrongChecksum(got, wheel);
      } else {
        await downloadChecked(address, target, wheel, log);
        return target;
      }
    } catch (error) {
      corrupt ||= error instanceof WrongChecksum;
      tried.push(`${shown(place)}: ${reason(error)}`);
    }
  }
  if (pip) {
    log('trying pip');
    const file = byPip(wheel, folder);
    if (file !== undefined && (await sha256Of(file)) === wheel.sha256) return file;
    tried.push(file === undefined ? 'pip download: missing or failed' : 'pip download: wrong sha256');
  }
  throw new BuildFailure(
    corrupt ? 'CHECKSUM' : 'DOWNLOAD_FAILED',
    `${wheel.file} could not be downloaded:${tried.map((line) => `\n  ${line}`).join('')}`,
    'Let this machine reach an index that has it (PIP_INDEX_URL names one), or hand the file in: --wheel FILE.',
  );
}
