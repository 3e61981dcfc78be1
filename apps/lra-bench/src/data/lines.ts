import { createReadStream, existsSync } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { corrupt, truncated } from './errors.js';

export interface Line {
  readonly text: string;
  /** `file:3`, for errors. */
  readonly where: string;
  readonly number: number;
}

/** The file of a name as it is, or compressed, if there is one. */
export function plainOrGzip(path: string): string | undefined {
  return [path, `${path}.gz`].find((one) => existsSync(one));
}

/** The bytes of a file, unpacked if its name ends in .gz. @throws TopKError FILE_TRUNCATED, FILE_CORRUPT */
export async function* unpacked(path: string): AsyncGenerator<Buffer> {
  const file = createReadStream(path);
  if (!path.endsWith('.gz')) {
    yield* file;
    return;
  }
  const unzip = createGunzip();
  file.on('error', (error) => unzip.destroy(error));
  try {
    yield* file.pipe(unzip);
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException;
    if (code === 'Z_BUF_ERROR') throw truncated(path, 'a whole gzip file', message);
    throw corrupt(path, 'a gzip file', message, cause);
  } finally {
    file.destroy();
  }
}

/** The lines of a text file, without their ends. The last may lack one. */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  const line = (bytes: Buffer): Line => {
    const text = bytes.toString('utf8');
    number++;
    return { text: text.endsWith('\r') ? text.slice(0, -1) : text, where: `${path}:${number}`, number };
  };
  for await (const chunk of unpacked(path)) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a, from)) {
      yield line(bytes.subarray(from, end));
      from = end + 1;
    }
    rest = bytes.subarray(from);
  }
  if (rest.length > 0) yield line(rest);
}
