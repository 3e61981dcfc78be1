/** Names of the files of a Hugging Face folder. */
export const CONFIG = 'config.json';
export const GENERATION_CONFIG = 'generation_config.json';
export const WEIGHTS = 'model.safetensors';
export const WEIGHTS_INDEX = 'model.safetensors.index.json';
export const TORCH_WEIGHTS = 'pytorch_model.bin';
export const TORCH_WEIGHTS_INDEX = 'pytorch_model.bin.index.json';
export const TOKENIZER = 'tokenizer.json';
export const TOKENIZER_CONFIG = 'tokenizer_config.json';
/** Of SentencePiece, where there is no tokenizer.json. */
export const SENTENCE_PIECE = 'spiece.model';
/** A piece in each line, of BERT's kind, where there is no tokenizer.json. */
export const WORD_PIECE = 'vocab.txt';
/** Of byte pairs of GPT-2's kind, where there is no tokenizer.json. */
export const BYTE_PAIRS = 'vocab.json';
export const MERGES = 'merges.txt';
/** Beside a vocabulary: tokens that were added to it, and which of all are special. */
export const ADDED_TOKENS = 'added_tokens.json';
export const SPECIAL_TOKENS = 'special_tokens_map.json';
