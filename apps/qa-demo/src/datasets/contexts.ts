import { fstatSync } from 'node:fs';
import type { Io } from '@topk-attention/app-kit/node';
import { decodeText, readTextFile } from './text-file.js';

/** The name that stands for standard input. */
const STDIN = '-';

/**
 * The texts of `--context`, one after the other. `-` is standard input, which is also read when no file is named and
 * something is piped in.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT.
 */
export async function readContexts(paths: readonly string[], io: Io): Promise<string> {
  const names = paths.length === 0 && isPiped(io) ? [STDIN] : paths;
  const texts: string[] = [];
  for (const name of names)
    texts.push(name === STDIN ? await readStdin(io) : await readTextFile(name, 'context'));
  return texts.map((text) => text.trim()).join('\n\n');
}

/** A pipe, a file or a socket, but neither a terminal nor /dev/null. */
function isPiped(io: Io): boolean {
  if (io.stdin.isTTY) return false;
  try {
    const stat = fstatSync(io.stdin.fd);
    return stat.isFIFO() || stat.isFile() || stat.isSocket();
  } catch {
    return false;
  }
}

async function readStdin(io: Io): Promise<string> {
  io.signal.throwIfAborted();
  const chunks: Buffer[] = [];
  const stop = (): void => void io.stdin.destroy();
  io.signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of io.stdin) chunks.push(Buffer.from(chunk));
  } finally {
    io.signal.removeEventListener('abort', stop);
    io.signal.throwIfAborted();
  }
  return decodeText(Buffer.concat(chunks), 'standard input');
}
