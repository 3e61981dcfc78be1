import { checkSignal } from './errors.js';
import type { NodeModules } from './node-modules.js';

/** A lock whose file was not touched for so long has lost its holder. */
const STALE_MILLISECONDS = 30_000;
const TOUCH_MILLISECONDS = 5_000;
const POLL_MILLISECONDS = 100;

/**
 * Runs `work` while no other process (or call) does so under the same path. Holders write who they are and touch the
 * file; one that has died is displaced, and so is one that was suspended (a laptop that slept). `isHeld` says whether
 * the lock is still this call's: what others rely on is done only then.
 *
 * @throws TopKError ABORTED while it waits, and what `work` throws
 */
export async function withLock<T>(
  node: NodeModules,
  path: string,
  signal: AbortSignal | undefined,
  work: (isHeld: () => Promise<boolean>) => Promise<T>,
): Promise<T> {
  const { fs } = node;
  const mark = JSON.stringify({
    host: node.os.hostname(),
    pid: process.pid,
    call: Math.random().toString(36).slice(2),
  });
  const isHeld = async (): Promise<boolean> => (await read(node, path)) === mark;
  while (!(await take(node, path, mark))) {
    checkSignal(signal);
    if (await isAbandoned(node, path)) await displace(node, path);
    else await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  const touch = setInterval(() => {
    const now = new Date();
    // The lock may have been displaced while this process was suspended.
    fs.utimes(path, now, now).catch(() => {});
  }, TOUCH_MILLISECONDS);
  touch.unref?.();
  try {
    return await work(isHeld);
  } finally {
    clearInterval(touch);
    if (await isHeld()) await fs.rm(path, { force: true });
  }
}

async function take({ fs }: NodeModules, path: string, mark: string): Promise<boolean> {
  try {
    await fs.writeFile(path, mark, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

async function isAbandoned(node: NodeModules, path: string): Promise<boolean> {
  try {
    const { mtimeMs } = await node.fs.stat(path);
    if (Date.now() - mtimeMs > STALE_MILLISECONDS) return true;
    const holder: unknown = JSON.parse((await read(node, path)) ?? '');
    if (typeof holder !== 'object' || holder === null) return false;
    const { host, pid } = { host: undefined, pid: undefined, ...holder };
    return host === node.os.hostname() && typeof pid === 'number' && !isAlive(pid);
  } catch {
    // Just released, or not written yet.
    return false;
  }
}

/** Takes the lock away. Of several processes that do so at once, those that took another's new lock put it back. */
async function displace(node: NodeModules, path: string): Promise<void> {
  const { fs } = node;
  const old = await read(node, path);
  const aside = `${path}.${Math.random().toString(36).slice(2)}`;
  try {
    await fs.rename(path, aside);
  } catch {
    return;
  }
  const taken = await read(node, aside);
  if (taken !== old) await fs.link(aside, path).catch(() => {});
  await fs.rm(aside, { force: true });
}

async function read({ fs }: NodeModules, path: string): Promise<string | undefined> {
  try {
    return await fs.readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process is alive too.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
