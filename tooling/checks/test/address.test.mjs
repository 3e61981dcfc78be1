import { expect, test } from 'vitest';
import { publishedReadme, relativeLinks } from '../../scripts/address.mjs';

const readme =
  'The [guide](../../docs/guide.md#top), [core](../core), [here](#here) and [npm](https://www.npmjs.com).';
const address = 'https://example.org/owner/name';

test('links of a published README are absolute', () => {
  expect(publishedReadme(readme, 'packages/nn', address)).toBe(
    'The [guide](https://example.org/owner/name/blob/HEAD/docs/guide.md#top), [core](https://example.org/owner/name/blob/HEAD/packages/core), [here](#here) and [npm](https://www.npmjs.com).',
  );
});

test('relative links are found', () => {
  expect(relativeLinks(readme)).toEqual(['](../../docs/guide.md#top)', '](../core)']);
  const others = '[a [b]](../c), <img src="../d.png">\n[e]: ../f\n[g]: https://example.org';
  expect(relativeLinks(others)).toEqual(['](../c)', 'src="../d.png"', '[e]: ../f']);
});
