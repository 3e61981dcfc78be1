import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { cutAfter, sendPart, sha256, startHub } from '@topk-attention/vitest-preset/hub-server';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { expect } from 'vitest';

optional('files of the Hub are loaded, resumed and kept by a browser', browserAvailability(), async () => {
  const random = randomBelow(8);
  // More than a piece of the page's storage.
  const large = Uint8Array.from({ length: 18 * 2 ** 20 }, () => random(256));
  const server = await startHub({ 'config.json': '{}', 'model.safetensors': large });
  const { endpoint } = server;
  await withTestPage({ folder: new URL('./page/', import.meta.url), ready: 'digest' }, async (page) => {
    const digest = (options: object, file: string): Promise<unknown> =>
      page.evaluate(`digest(${JSON.stringify({ endpoint, ...options })}, ${JSON.stringify(file)})`);
    // The first connection ends in the second piece, and the page goes away.
    server.fault = (asked) => {
      if (asked.kind !== 'cdn') return false;
      if (asked.before === 0) {
        sendPart(asked, 17 * 2 ** 20);
        // Time to keep the first piece.
        setTimeout(() => asked.response.destroy(), 5000);
      } else cutAfter(asked, 0);
      return true;
    };
    expect(await digest({}, 'model.safetensors')).toBe('DOWNLOAD_FAILED');
    server.fault = undefined;
    server.asked.length = 0;
    await page.page.reload();
    await page.page.waitForFunction('globalThis.digest !== undefined');
    expect(await digest({ token: 'hf_secret' }, 'model.safetensors')).toBe(sha256(large));
    const downloads = server.asked.filter(({ kind }) => kind === 'cdn');
    expect(downloads.map(({ from }) => from)).toEqual([16 * 2 ** 20]);
    expect(downloads[0]?.request.headers.authorization).toBeUndefined();
    expect(server.asked.find(({ kind }) => kind === 'file')?.request.headers.authorization).toBe(
      'Bearer hf_secret',
    );
    server.asked.length = 0;
    await page.page.reload();
    await page.page.waitForFunction('globalThis.digest !== undefined');
    expect(await digest({ localFilesOnly: true }, 'model.safetensors')).toBe(sha256(large));
    expect(await digest({ localFilesOnly: true }, 'config.json')).toBe('NOT_CACHED');
    expect(server.asked).toEqual([]);
    expect(await digest({}, 'config.json')).toBe(sha256('{}'));
    expect(await digest({}, 'absent.json')).toBe('absent');
    expect(await digest({ revision: 'other' }, 'config.json')).toBe('REVISION_NOT_FOUND');
  });
});
