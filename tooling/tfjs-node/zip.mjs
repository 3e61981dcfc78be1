// Reads a zip archive (a Python wheel is one) by its central directory, and unpacks chosen entries without holding
// them in memory: the largest here has 750 MB.
import { createReadStream, createWriteStream, mkdirSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';
import { BuildFailure } from './failure.mjs';

/** @typedef {{ name: string, method: number, packed: number, size: number, header: number }} ZipEntry */

const endMark = 0x06054b50;
const entryMark = 0x02014b50;
const localMark = 0x04034b50;

/**
 * @param {string} file
 * @param {string} why
 */
const bad = (file, why) =>
  new BuildFailure(
    'BAD_WHEEL',
    `${file} is not a zip archive that can be read: ${why}`,
    'Delete it and try again.',
  );

/**
 * @param {import('node:fs/promises').FileHandle} handle
 * @param {number} position
 * @param {number} length
 */
async function bytesAt(handle, position, length) {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/**
 * The entries of an archive, from its central directory.
 *
 * @param {string} file
 * @returns {Promise<ZipEntry[]>}
 */
export async function zipEntries(file) {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    // The end record is 22 bytes and a comment of at most 65,535.
    const start = Math.max(0, size - 22 - 0xffff);
    const tail = await bytesAt(handle, start, size - start);
    let at = tail.length - 22;
    while (at >= 0 && tail.readUInt32LE(at) !== endMark) at--;
    if (at < 0) throw bad(file, 'no end record');
    const count = tail.readUInt16LE(at + 10);
    const length = tail.readUInt32LE(at + 12);
    const offset = tail.readUInt32LE(at + 16);
    if (count === 0xffff || offset === 0xffffffff) throw bad(file, 'it is in the Zip64 format');
    const directory = await bytesAt(handle, offset, length);
    /** @type {ZipEntry[]} */
    const entries = [];
    for (let from = 0; entries.length < count; ) {
      if (from + 46 > directory.length || directory.readUInt32LE(from) !== entryMark)
        throw bad(file, `its directory breaks off after ${entries.length} of ${count} entries`);
      const nameLength = directory.readUInt16LE(from + 28);
      entries.push({
        name: directory.toString('utf8', from + 46, from + 46 + nameLength),
        method: directory.readUInt16LE(from + 10),
        packed: directory.readUInt32LE(from + 20),
        size: directory.readUInt32LE(from + 24),
        header: directory.readUInt32LE(from + 42),
      });
      from += 46 + nameLength + directory.readUInt16LE(from + 30) + directory.readUInt16LE(from + 32);
    }
    return entries;
  } finally {
    await handle.close();
  }
}

/**
 * Unpacks the entries for which `target` gives a path, relative to `folder`.
 *
 * @param {string} file
 * @param {string} folder
 * @param {(name: string) => string | undefined} target
 * @returns {Promise<number>} how many files were written
 */
export async function unzip(file, folder, target) {
  const root = resolve(folder) + sep;
  const entries = await zipEntries(file);
  const handle = await open(file);
  let written = 0;
  try {
    for (const entry of entries) {
      const place = entry.name.endsWith('/') ? undefined : target(entry.name);
      if (place === undefined) continue;
      const path = resolve(folder, place);
      if (!path.startsWith(root)) throw bad(file, `${entry.name} leaves the folder`);
      mkdirSync(dirname(path), { recursive: true });
      // The local header repeats the name and has extra fields of its own.
      const local = await bytesAt(handle, entry.header, 30);
      if (local.length < 30 || local.readUInt32LE(0) !== localMark)
        throw bad(file, `${entry.name} is missing`);
      const start = entry.header + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
      const output = createWriteStream(path);
      try {
        if (entry.packed === 0) await pipeline([], output);
        else {
          const input = createReadStream(file, {
            start,
            end: start + entry.packed - 1,
            highWaterMark: 1 << 20,
          });
          if (entry.method === 0) await pipeline(input, output);
          else if (entry.method === 8)
            await pipeline(input, createInflateRaw({ chunkSize: 1 << 20 }), output);
          else throw bad(file, `${entry.name} is packed by method ${entry.method}`);
        }
      } catch (error) {
        if (
          error instanceof BuildFailure ||
          (error instanceof Error && 'code' in error && error.code === 'ENOSPC')
        )
          throw error;
        throw bad(file, `${entry.name}: ${String(error)}`);
      }
      if (statSync(path).size !== entry.size)
        throw bad(file, `${entry.name} has ${statSync(path).size} bytes instead of ${entry.size}`);
      written++;
    }
  } finally {
    await handle.close();
  }
  return written;
}
