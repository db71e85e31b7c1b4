#include "storage.h"
#include <string.h>
#include <stdlib.h>
int triangle_fill(const void *s, size_t m, size_t n, size_t z, uint32_t *fill){
  const uint8_t*p=s; *fill=0; int have=0; if(n<2)return 1;
  for(size_t a=0;a<m;a++)for(size_t i=0;i<n;i++)for(size_t j=i+1;j<n;j++){uint32_t v=0;memcpy(&v,p+((a*n+i)*n+j)*z,z);if(!have){*fill=v;have=1;}else if(v!=*fill)return 0;}
  return 1;}
void pack_triangle(const void *s, void *d, size_t m, size_t n, size_t z){const uint8_t*p=s;uint8_t*q=d;for(size_t a=0;a<m;a++)for(size_t i=0;i<n;i++){memcpy(q,p+(a*n+i)*n*z,(i+1)*z);q+=(i+1)*z;}}
void unpack_triangle(const void *s, void *d, size_t m, size_t n, size_t z,uint32_t f){const uint8_t*p=s;uint8_t*q=d;for(size_t a=0;a<m;a++)for(size_t i=0;i<n;i++){memcpy(q,p,(i+1)*z);p+=(i+1)*z;q+=(i+1)*z;for(size_t j=i+1;j<n;j++,q+=z)memcpy(q,&f,z);}}
static void add(void*d,size_t l,size_t z,uint32_t field,uint32_t o){ if(!o)return; if(z==4){uint32_t*u=d;for(size_t i=0;i<l/4;i++)u[i]=(u[i]&~field)|((u[i]+o)&field);}else{uint16_t*u=d;for(size_t i=0;i<l/2;i++)u[i]=(u[i]&~field)|((u[i]+o)&field);}}
void bit_shuffle6(const void *s, void *d, size_t l, size_t z,uint32_t f,uint32_t o){void*t=malloc(l+1);memcpy(t,s,l);add(t,l,z,f,-o);bit_shuffle(t,d,l,z);free(t);}
void bit_unshuffle6(const void *s, void *d, size_t l, size_t z,uint32_t f,uint32_t o){bit_unshuffle(s,d,l,z);add(d,l,z,f,o);}
