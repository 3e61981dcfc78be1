/** A text of what makes trouble: spaces of all kinds, marks that combine, ligatures, pairs and halves of pairs, special tokens. */
export function randomText(random: (limit: number) => number, parts: number): string {
  const alphabet = [
    'a',
    'e',
    'S',
    'T',
    'th',
    ' ',
    ' ',
    '  ',
    '\n',
    '\u00a0',
    '\u3000',
    '\u0301',
    '\u0327',
    '\ufb01',
    'Σ',
    'ß',
  ];
  alphabet.push(
    '日',
    '\uac00',
    '\u1100',
    '\u1161',
    '👍',
    '\u200d',
    '\ud83d',
    '\udc4d',
    '▁',
    '</s>',
    '<unk>',
    '.',
    ', ',
    '42',
    '<',
  );
  return Array.from({ length: parts }, () => alphabet[random(alphabet.length)]).join('');
}
