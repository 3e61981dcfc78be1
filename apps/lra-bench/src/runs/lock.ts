import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isObject } from '@topk-attention/app-kit';
import { TopKError } from '@topk-attention/core';
import { notWritten } from '../data/errors.js';

interface Owner {
  readonly host: string;
  readonly pid: number;
}

/**
 * A run folder that only one process may write to, by a file `lock` in it. What a process that died has left is taken over
 * on the same machine; from elsewhere nobody can tell, and the error says what to do.
 *
 * @throws TopKError LOCKED; FILE_NOT_WRITTEN
 */
export function lockFolder(folder: string): { readonly release: () => void } {
  const path = join(folder, 'lock');
  const own: Owner = { host: hostname(), pid: process.pid };
  const text = JSON.stringify(own);
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw notWritten(path, cause);
  }
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      writeFileSync(path, text, { flag: 'wx' });
      return { release: () => rmSync(path, { force: true }) };
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw notWritten(path, cause);
    }
    const before = read(path);
    const owner = ownerOf(before);
    if (before !== undefined && (owner === undefined || isAlive(owner))) throw locked(folder, path, owner);
    if (before !== undefined) takeAway(path, before);
  }
  throw locked(folder, path, ownerOf(read(path)));
}

/** Removes the lock of a dead process, but not one that another process has put in its place meanwhile. */
function takeAway(path: string, before: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    // Another process was quicker.
    return;
  }
  if (read(aside) !== before) {
    try {
      linkSync(aside, path);
    } catch {
      // There is a newer one already.
    }
  }
  rmSync(aside, { force: true });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function ownerOf(text: string | undefined): Owner | undefined {
  try {
    const value: unknown = JSON.parse(text ?? '');
    if (isObject(value) && typeof value.host === 'string' && typeof value.pid === 'number')
      return { host: value.host, pid: value.pid };
  } catch {
    // Not written to the end yet.
  }
  return undefined;
}

function isAlive({ host, pid }: Owner): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function locked(folder: string, path: string, owner: Owner | undefined): TopKError {
  return new TopKError('LOCKED', `${folder} is in use`, {
    expected: 'one process per run folder',
    got: owner === undefined ? 'another process' : `process ${owner.pid} on ${owner.host}`,
    fix: `Wait for it. If it is gone, remove ${path}`,
  });
}
