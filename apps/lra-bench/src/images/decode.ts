import { TopKError } from '@topk-attention/core';
import { corrupt } from '../data/errors.js';
import { greyOf } from './grey.js';

type Sharp = typeof import('sharp')['default'];
let loaded: Promise<Sharp> | undefined;

/** The decoder, loaded with the first image: a native library that other tasks do without. */
function decoder(): Promise<Sharp> {
  loaded ??= import('sharp').then(
    (module) => module.default,
    (cause: unknown) => {
      throw new TopKError('MISSING_PEER', 'images cannot be decoded: sharp cannot be imported', {
        got: cause instanceof Error ? (cause.message.split('\n')[0] as string) : String(cause),
        fix: 'Install it for this system (npm install sharp), or use the binary form of CIFAR-10',
        cause,
      });
    },
  );
  return loaded;
}

/**
 * A PNG or JPEG file as grey levels, row by row. Levels of a grey file stay what they are.
 *
 * @param side pixels on each side that it must have
 * @throws TopKError FILE_CORRUPT for other files and sizes, MISSING_PEER without the decoder
 */
export async function greyImage(path: string, side: number): Promise<Uint8Array> {
  const sharp = await decoder();
  let image: {
    readonly data: Buffer;
    readonly info: { readonly width: number; height: number; channels: number };
  };
  try {
    const picture = sharp(path);
    const { space } = await picture.metadata();
    // As three colours, a level would be weighed and truncated to the one below it.
    const isGrey = space === 'b-w' || space === 'grey16';
    const pixels = picture
      .toColourspace(isGrey ? 'b-w' : 'srgb')
      .removeAlpha()
      .raw();
    image = await pixels.toBuffer({ resolveWithObject: true });
  } catch (cause) {
    throw corrupt(path, 'a PNG or JPEG image', cause instanceof Error ? cause.message : String(cause), cause);
  }
  const { width, height, channels } = image.info;
  if (width !== side || height !== side)
    throw corrupt(
      path,
      `${side} x ${side} pixels`,
      `${width} x ${height}${width === height ? '' : ', not square'}`,
    );
  if (channels === 1) return new Uint8Array(image.data);
  return greyOf(new Uint8Array(image.data));
}
