import { TopKError } from '@topk-attention/core';

export function corrupt(file: string, what: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: ${what}`, {
    expected,
    got,
    fix: 'Download the file again, or save it again with torch.save(model.state_dict(), ...)',
  });
}

export function truncated(file: string, what: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_TRUNCATED', `${file}: ${what}`, {
    expected,
    got,
    fix: 'Download or copy the file again',
  });
}

/** The file asks for something that is more than weights. */
export function unsafe(file: string, what: string, got: string): TopKError {
  return new TopKError('UNSAFE_FILE', `${file}: ${what}`, {
    expected: 'a state_dict of plain tensors: nothing else is built, and no code of a file is run',
    got,
    fix: 'If you trust the file, save its state_dict as safetensors in Python',
  });
}

export function unsupported(file: string, what: string, got: string): TopKError {
  return new TopKError('UNSUPPORTED', `${file}: ${what}`, {
    expected: 'dense tensors of a state_dict, as torch.save writes them',
    got,
    fix: 'Save the state_dict as safetensors in Python',
  });
}
