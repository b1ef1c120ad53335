#ifndef KDN_OPENSSL_SHIM_H
#define KDN_OPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

// What Swift cannot import of OpenSSL: macros, and stacks that are macros behind their types.

/* Both ends of the range of versions: TLS 1.3 and nothing else; 1 if that is possible. */
static inline int kdn_tls_only_1_3(SSL_CTX *context) {
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) &&
         SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
}
static inline void kdn_tls_set_mode(SSL_CTX *context, long mode) {
  (void)SSL_CTX_set_mode(context, mode);
}
static inline void kdn_tls_clear_mode(SSL_CTX *context, long mode) {
  (void)SSL_CTX_clear_mode(context, mode);
}
static inline void kdn_tls_no_session_cache(SSL_CTX *context) {
  (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}
static inline void kdn_tls_set_certificate_bytes_max(SSL_CTX *context, long count) {
  (void)SSL_CTX_set_max_cert_list(context, count);
}
static inline void kdn_tls_read_ahead(SSL_CTX *context) { SSL_CTX_set_read_ahead(context, 1); }

static inline uint64_t kdn_tls_options(void) {
  return SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
         SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_ENABLE_KTLS;
}
static inline int kdn_tls_set_server_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, name);
}
static inline int kdn_tls_handshake_is_done(const SSL *ssl) { return SSL_is_init_finished(ssl); }
/* Whether the kernel encrypts what is sent, and decrypts what is received. */
static inline int kdn_tls_kernel_sends(const SSL *ssl) {
  return BIO_get_ktls_send(SSL_get_wbio(ssl)) ? 1 : 0;
}
static inline int kdn_tls_kernel_receives(const SSL *ssl) {
  return BIO_get_ktls_recv(SSL_get_rbio(ssl)) ? 1 : 0;
}
static inline void kdn_tls_free(void *memory) { OPENSSL_free(memory); }

/* The alternative names of a certificate, or NULL; kdn_tls_names_free ends them. */
static inline GENERAL_NAMES *kdn_tls_names(const X509 *certificate) {
  return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}
static inline int kdn_tls_names_count(const GENERAL_NAMES *names) {
  return sk_GENERAL_NAME_num(names);
}
/* The text of name `index`, or NULL if it is of another type than `type`. */
static inline const ASN1_STRING *kdn_tls_name(const GENERAL_NAMES *names, int index, int type) {
  int found = 0;
  void *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, index), &found);
  return found == type ? (const ASN1_STRING *)text : NULL;
}
static inline void kdn_tls_names_free(GENERAL_NAMES *names) { GENERAL_NAMES_free(names); }

#endif
