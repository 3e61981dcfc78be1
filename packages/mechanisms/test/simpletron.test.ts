import { test } from 'vitest';
import { simpleTron } from '../src/index.js';
import { expectGolden } from './support/goldens.js';
import { describeLaws } from './support/laws.js';

test('is (Q K^T) V / sqrt(n)', () => expectGolden('simpletron', simpleTron()));

test.each([1, 3, 128])('causally each row by its own length, %i at a time', (chunk) =>
  expectGolden('simpletron, causal', simpleTron({ chunk }), {}, { causal: true }),
);

describeLaws('SimpleTRON', simpleTron({ chunk: 4 }));
