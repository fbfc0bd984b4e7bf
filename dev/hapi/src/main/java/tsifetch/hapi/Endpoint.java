package tsifetch.hapi;

import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.batch2.jobs.reindex.ReindexProvider;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.interceptor.api.IInterceptorBroadcaster;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.DaoRegistry;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.delete.ThreadSafeResourceDeleterSvc;
import ca.uhn.fhir.jpa.interceptor.CascadingDeleteInterceptor;
import ca.uhn.fhir.jpa.provider.IJpaSystemProvider;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.narrative.DefaultThymeleafNarrativeGenerator;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.beans.factory.config.AutowireCapableBeanFactory;
import org.springframework.boot.web.servlet.ServletRegistrationBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** The FHIR endpoint: what it offers, and whether reads carry a generated narrative (the platform's ePI server). */
@Configuration
public class Endpoint {
  @Bean
  RestfulServer restfulServer(
      FhirContext fhir,
      AutowireCapableBeanFactory beans,
      ResourceProviderFactory resources,
      IJpaSystemProvider system,
      DatabaseBackedPagingProvider paging,
      ReindexProvider reindex,
      BulkDataExportProvider export,
      @Value("${tsi.export:false}") boolean exporting,
      @Value("${tsi.narrative:true}") boolean narrative) {
    RestfulServer server = new RestfulServer(fhir);
    beans.autowireBean(server);
    server.registerProviders(resources.createProviders());
    server.registerProvider(system);
    server.registerProvider(reindex);
    if (exporting) {
      server.registerProvider(export);
    }
    server.setPagingProvider(paging);
    if (narrative) {
      fhir.setNarrativeGenerator(new DefaultThymeleafNarrativeGenerator());
    }
    return server;
  }

  @Bean
  ServletRegistrationBean<RestfulServer> servlet(
      RestfulServer server,
      IFhirSystemDao<?, ?> system,
      JpaStorageSettings settings,
      ISearchParamRegistry parameters,
      IValidationSupport validation,
      DaoRegistry daos,
      IInterceptorBroadcaster interceptors,
      ThreadSafeResourceDeleterSvc deleter) {
    server.registerInterceptor(
        new CascadingDeleteInterceptor(server.getFhirContext(), daos, interceptors, deleter));
    server.setServerConformanceProvider(
        new JpaCapabilityStatementProvider(server, system, settings, parameters, validation));
    ServletRegistrationBean<RestfulServer> servlet = new ServletRegistrationBean<>(server, "/fhir/*");
    servlet.setLoadOnStartup(1);
    return servlet;
  }
}
